"""For authors of drivers: the contract suite and a driver that does as it is told."""

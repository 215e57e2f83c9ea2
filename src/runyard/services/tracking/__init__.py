"""What programs tell of their runs through the tracking client, and what is read back of it."""

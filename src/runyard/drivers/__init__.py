"""One module for each kind of compute, all under the laws of `base`."""

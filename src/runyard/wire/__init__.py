"""What goes over HTTP: types that server and clients share, and nothing that decides."""

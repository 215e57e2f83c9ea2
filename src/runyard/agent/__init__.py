"""The process near the compute: takes items, runs them, tells the server."""

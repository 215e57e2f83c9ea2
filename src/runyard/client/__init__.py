"""How everything that is not the server speaks to the server."""

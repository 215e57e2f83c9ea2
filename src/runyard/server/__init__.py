"""The HTTP edge: parses, authenticates, opens the transaction, makes time and tokens."""

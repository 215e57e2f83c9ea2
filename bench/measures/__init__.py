"""One module for each kind of figure; each gives rows for the table."""

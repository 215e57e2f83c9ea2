"""What a caller can ask for: one function each, one short transaction each."""

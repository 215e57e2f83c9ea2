"""Images that agents build: who builds one, who uses it, and when it may go."""

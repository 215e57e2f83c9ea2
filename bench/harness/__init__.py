"""Real servers and agents as processes, and what is common to all figures."""

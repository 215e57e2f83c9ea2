"""What runs on this host: other people's programs, started and ended with care."""

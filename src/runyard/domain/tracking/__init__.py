"""What a run's program tells of it while it runs: rows of the history, and lines of the console."""

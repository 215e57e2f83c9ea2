"""Sweeps: what is searched, how, and when a run or a whole sweep ends."""

"""Runyard: queues, agents and runs for machine-learning jobs, on your own machines."""

__version__ = "0.1.0"

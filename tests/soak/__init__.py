"""A server under load for an hour and more, and whether it is then as it was: ``python -m tests.soak``."""

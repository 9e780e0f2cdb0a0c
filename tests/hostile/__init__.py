"""Attacks on a real server beside an innocent client; ``python -m tests.hostile`` makes them at length."""

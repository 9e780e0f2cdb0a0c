"""Nodes in processes of their own, a real Redis and PostgreSQL, and everything that goes wrong."""

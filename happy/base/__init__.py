"""Leaves that anybody may use: they know neither clients nor databases."""

"""Several nodes that are one service."""

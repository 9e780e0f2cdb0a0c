"""PostgreSQL as a child of the server (decisions 3)."""

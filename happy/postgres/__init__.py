"""PostgreSQL as a child of the server (decisions 3)."""

from happy.postgres.service import EmbeddedPostgres

__all__ = ["EmbeddedPostgres"]

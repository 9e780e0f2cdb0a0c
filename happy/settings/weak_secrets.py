"""Master secrets that anybody could guess from an example."""

from __future__ import annotations

WELL_KNOWN = frozenset(
    {
        "change-me",
        "changeme",
        "dev",
        "development",
        "example",
        "happy",
        "local",
        "master-secret",
        "password",
        "secret",
        "test",
        "test-secret",
        "your-super-secret-key-for-local-development",
    }
)
"""Secrets of examples and development set-ups; compared without regard to case and outer white space."""

WEAK = "must not be a well-known one; set another, or allow-weak-secret for development"


def is_weak(secret: str) -> bool:
    """Whether anybody could guess the secret from an example."""
    return secret.strip().lower() in WELL_KNOWN

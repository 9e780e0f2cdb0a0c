"""Texts that break what is careless."""

from __future__ import annotations

import random
import string

ENDLESS = "".join(random.Random(1).choices(string.ascii_letters, k=9000))
"""Longer than any index takes, and not to be compressed into it."""

NASTY = (
    "",
    "\0",
    "a\0b",
    "\U0001f600",
    "'; --",
    "%s",
    "../../etc/passwd",
    "YQ==",
    "!!",
    "null",
    "{}",
    ENDLESS,
)

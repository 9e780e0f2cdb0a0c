"""Test vectors made with the original token library under a frozen clock (tokens-and-crypto.md 9)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

VECTORS: dict[str, Any] = json.loads(Path(__file__).with_name("token-vectors.json").read_text("utf-8"))

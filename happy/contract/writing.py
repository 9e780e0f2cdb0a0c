"""How the documents are written, as they are served and kept in the repository."""

from __future__ import annotations

import json
from typing import Any


def text(document: dict[str, Any]) -> bytes:
    """A document as a JSON text."""
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"

"""``python -m happy.contract FOLDER`` writes the documents into a folder."""

from __future__ import annotations

import sys
from pathlib import Path

from happy.capabilities import CAPABILITIES
from happy.contract.asyncapi import asyncapi
from happy.contract.openapi import openapi
from happy.contract.writing import text

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m happy.contract FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "openapi.json").write_bytes(text(openapi(CAPABILITIES)))
    (folder / "asyncapi.json").write_bytes(text(asyncapi(CAPABILITIES)))

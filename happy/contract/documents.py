"""The documents as they are served and kept in the repository."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from happy.api.declare import Capability
from happy.contract.asyncapi import asyncapi
from happy.contract.openapi import openapi


class Documents:
    """Both documents for some capabilities, as the bytes of JSON texts; each made when it is first read."""

    def __init__(self, capabilities: Sequence[Capability]) -> None:
        self._capabilities = capabilities

    @cached_property
    def openapi(self) -> bytes:
        """The HTTP endpoints."""
        return _text(openapi(self._capabilities))

    @cached_property
    def asyncapi(self) -> bytes:
        """The events on sockets."""
        return _text(asyncapi(self._capabilities))


def _text(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"

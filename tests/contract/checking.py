"""Holding real answers and events against the published contract."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator


class Contract:
    """Both documents, as parsed JSON."""

    def __init__(self, openapi: Any, asyncapi: Any) -> None:
        self._openapi = openapi
        self._asyncapi = asyncapi

    def check_answer(self, method: str, path: str, status: int, body: Any) -> None:
        """Fail unless an answer is one that the contract names; ``path`` is its template."""
        responses = self._openapi["paths"][path][method.lower()]["responses"]
        schema = responses[str(status)]["content"]["application/json"]["schema"]
        _check(schema, self._openapi, body)

    def check_event(self, name: str, data: Any) -> None:
        """Fail unless the data of an event, or of its reply (``name.reply``), is as the contract says."""
        _check(self._asyncapi["channels"]["events"]["messages"][name]["payload"], self._asyncapi, data)


def _check(schema: Any, document: Any, value: Any) -> None:
    # References point into the document, so its components go along.
    Draft202012Validator({**schema, "components": document["components"]}).validate(value)

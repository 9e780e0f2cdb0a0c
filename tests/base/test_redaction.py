"""What the log says of an unexpected error."""

from __future__ import annotations

import json

from happy.base.redaction import name_fault
from happy.settings import parsers


def test_named_after_our_own_code() -> None:
    """Faults that end on the same line of a library are told apart by the place that led there."""
    try:
        parsers.path(1)  # type: ignore[arg-type]
    except TypeError as error:
        assert "settings/parsers.py" in name_fault(error, error.__traceback__)


def test_without_any_of_ours() -> None:
    """A fault of others is named after where it happened."""
    try:
        json.loads("{")
    except ValueError as error:
        assert "json/decoder.py" in name_fault(error, error.__traceback__)

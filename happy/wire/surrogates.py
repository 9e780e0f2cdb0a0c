r"""Escaped lone surrogates in JSON text: ECMAScript peers may write them, UTF-8 cannot carry them."""

from __future__ import annotations

import re
from typing import Final

_LONE: Final = re.compile(
    rb"\\u[dD](?:"
    rb"([89abAB][0-9a-fA-F]{2})(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])([c-fC-F][0-9a-fA-F]{2}))"
)
_MENDED: Final = rb"\\ufffd"
_MARKED: Final = rb"\\ue\1\2"
_MARK: Final = re.compile(rb"\\u[eE]([89a-fA-F][0-9a-fA-F]{2})")
"""A character for private use, one for each surrogate. As they are, ECMAScript peers do not escape them."""
MOST_LONE: Final = 20_000
"""Surrogates without a partner in one text. Each costs much, and real texts have one."""

_ESCAPED: Final = rb"\\"
_COVER: Final = b"\0\0"  # in no JSON text


def mend_surrogates(text: bytes) -> bytes:
    r"""``text`` with ``\ufffd`` for every escaped surrogate without a partner; byte for byte as long.

    What is no JSON may stay as it is, and so does what has more than :data:`MOST_LONE` of them. Nothing of
    ours runs for each.
    """
    return _replaced(text, _MENDED)


def mark_surrogates(text: bytes) -> bytes | None:
    """As :func:`mend_surrogates`, but so that :func:`unmark_surrogates` can undo it in any part of the text.

    None if what would be undone is there already.
    """
    return None if _MARK.search(text.replace(_ESCAPED, _COVER)) else _replaced(text, _MARKED)


def unmark_surrogates(text: bytes) -> bytes:
    """A part of a text before its surrogates were marked."""
    return _MARK.sub(rb"\\ud\1", text.replace(_ESCAPED, _COVER)).replace(_COVER, _ESCAPED)


def has_lone(text: bytes) -> bool:
    """Whether an escaped surrogate without a partner is in ``text``, which is JSON."""
    return _LONE.search(text.replace(_ESCAPED, _COVER)) is not None


def _replaced(text: bytes, by: bytes) -> bytes:
    if b"\0" in text:
        return text
    # With escaped backslashes out of sight, every backslash begins an escape.
    covered = text.replace(_ESCAPED, _COVER)
    replaced, count = _LONE.subn(by, covered, MOST_LONE + 1)
    return text if count > MOST_LONE else replaced.replace(_COVER, _ESCAPED)

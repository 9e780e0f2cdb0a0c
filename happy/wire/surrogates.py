r"""Escaped lone surrogates in JSON text: ECMAScript peers may write them, UTF-8 cannot carry them."""

from __future__ import annotations

import re
from typing import Final

_LONE: Final = re.compile(
    rb"\\u[dD](?:"
    rb"[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD])[c-fC-F][0-9a-fA-F]{2})"
)
MOST_LONE: Final = 20_000
"""Surrogates without a partner in one text. Each costs much, and real texts have one."""

_ESCAPED: Final = rb"\\"
_COVER: Final = b"\0\0"  # in no JSON text


def mend_surrogates(text: bytes) -> bytes:
    r"""``text`` with ``\ufffd`` for every escaped surrogate without a partner; byte for byte as long.

    What is no JSON may stay as it is, and so does what has more than :data:`MOST_LONE` of them. Nothing of
    ours runs for each.
    """
    if b"\0" in text:
        return text
    # With escaped backslashes out of sight, every backslash begins an escape.
    covered = text.replace(_ESCAPED, _COVER)
    mended, count = _LONE.subn(rb"\\ufffd", covered, MOST_LONE + 1)
    return text if count > MOST_LONE else mended.replace(_COVER, _ESCAPED)


def has_lone(text: bytes) -> bool:
    """Whether an escaped surrogate without a partner is in ``text``, which is JSON."""
    return _LONE.search(text.replace(_ESCAPED, _COVER)) is not None

r"""Escaped lone surrogates in JSON text: ECMAScript peers may write them, UTF-8 cannot carry them."""

from __future__ import annotations

import re
from typing import Final

_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|\\.",
    re.DOTALL,
)


def mend_surrogates(text: bytes) -> bytes:
    r"""``text`` with ``\ufffd`` for every escaped surrogate without a partner; byte for byte as long."""
    return _ESCAPE.sub(lambda escape: rb"\ufffd" if escape["lone"] else escape[0], text)

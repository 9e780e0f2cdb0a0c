"""Updates whose text is so large that it is written in pieces, and never there as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from happy.api.portions import LARGE, Sliced, in_portions, size_of
from happy.realtime.updates import NewMessage, Update, encode_update, envelope
from happy.storage.large import Kind
from happy.storage.pieces import InPieces


def size_of_update(update: Update) -> int:
    """What :func:`~happy.api.portions.size_of` says of its body."""
    body = update.body
    # As of any other body, but this is asked for every message.
    return len(body.message.content.c) if type(body) is NewMessage else size_of(body)


def text_of(update: Update, largest: int = LARGE) -> bytes | InPieces:
    """What :func:`encode_update` encodes, in pieces if it is larger than that."""
    size = size_of_update(update)
    return encode_update(update) if size <= largest else in_pieces(update, size)


def in_pieces(update: Update, size: int) -> InPieces:
    """What :func:`encode_update` encodes, of at least so many characters."""
    return InPieces(size, partial(in_portions, envelope(update)))


def content_of(parts: Sequence[bytes]) -> Any:
    """What stands in an update for a text that was read in parts; ``size`` is how long it is."""
    return Sliced(Kind.TEXT, parts)

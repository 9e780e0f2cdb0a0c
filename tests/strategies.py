"""One strategy for each kind of value on the realtime wire, limits spelled out."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from happy.wire.incoming import MAX_ATTACHMENTS, RESERVED
from happy.wire.jsontext import Attachment

SAFE_INTEGER = 2**53 - 1

texts = st.text(st.characters(codec="utf-8"), max_size=20)
"""Text that UTF-8 can carry."""

wild_texts = st.text(st.characters(exclude_categories=()), max_size=20)
"""Text with lone surrogates too."""

numbers = st.one_of(
    st.integers(-SAFE_INTEGER, SAFE_INTEGER),
    st.floats(allow_nan=False, allow_infinity=False),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)


def nested(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[str] = texts) -> st.SearchStrategy[Any]:
    """Lists and objects of these, some deep."""
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )


json_values = nested(scalars)
wild_json_values = nested(st.one_of(scalars, wild_texts), keys=wild_texts)

attachments = st.binary(max_size=64).map(Attachment)
argument_lists = st.lists(nested(scalars | attachments), max_size=4)
"""What an event may carry, binary data included; at most as much of it as a client may send."""

event_names = texts.filter(lambda name: name not in RESERVED)
namespaces = st.one_of(
    st.just("/"),
    st.text(st.characters(codec="utf-8", exclude_characters=","), max_size=12).map("/{}".format),
)
ack_ids = st.integers(0, SAFE_INTEGER)
message_texts = texts.map(str.encode)
"""The content of a text message: UTF-8."""


def count_attachments(value: Any) -> int:
    """How many :class:`Attachment` there are inside a value."""
    if isinstance(value, Attachment):
        return 1
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return sum(map(count_attachments, inner))


def within_cap(arguments: list[Any]) -> bool:
    """Whether a client may send so much binary data in one packet."""
    return count_attachments(arguments) <= MAX_ATTACHMENTS

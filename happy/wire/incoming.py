"""Socket.IO packets from a client: decoding, and reassembly of binary ones.

Arguments stay raw JSON. Grammar and outcomes: realtime.md A.11 and A.13.
"""

from __future__ import annotations

from msgspec import Raw


class Arguments(tuple[Raw, ...]):
    """The JSON of each argument, and the binary attachments that placeholders in it refer to."""

    attachments: tuple[bytes, ...] = ()

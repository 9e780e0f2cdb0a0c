"""What nodes tell each other: MessagePack of these structs, by position, told apart by their tags.

What changes in them, or in what they mean, changes :data:`VERSION`: a bus keeps nodes of different versions
apart, except for what is said to all of them (:data:`happy.cluster.bus.NODES`), which only grows at its end.
A new word does not, if all is well without an answer to it: who does not know it does not hear it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from happy.realtime.updates import Scope

VERSION: Final = 1

BEGINNING: Final = 20
"""Bytes of a word in which its tag ends, and the name of the node that says it."""


class NodeWord(Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Something that ``node`` says."""

    node: str


class Beat(NodeWord, frozen=True, array_like=True, gc=False, tag="b"):
    """I live, and speak this version; ``draining`` tells that I am being emptied, or leave.

    ``era`` grows whenever my way to the others broke and is there again: what was said to me before may not
    have been heard. The rest is for people to read: my program's version, my host, when I started (epoch
    milliseconds), how many sockets I have, where my files are, and the fingerprint of my master secret.
    """

    name: str
    version: int
    draining: bool = False
    era: int = 0
    release: str = ""
    host: str = ""
    since: int = 0
    sockets: int = 0
    files: str = ""
    secret: str = ""


class Bye(NodeWord, frozen=True, array_like=True, gc=False, tag="bye"):
    """I am gone, and whatever I committed was told."""


class Look(NodeWord, frozen=True, array_like=True, gc=False, tag="l"):
    """Something that I committed, or a signal, may not have been heard: compare numbers."""


class Use(NodeWord, frozen=True, array_like=True, gc=False, tag="n"):
    """Something was done that may be done so often in a while: ``what``, and who did it."""

    what: str
    key: str


class Order(NodeWord, frozen=True, array_like=True, gc=False, tag="o"):
    """The operator asks something of all nodes: what, and members of a JSON object."""

    number: int
    what: str
    members: bytes


class Obeyed(NodeWord, frozen=True, array_like=True, gc=False, tag="ob"):
    """What came of your order: JSON, or None if it failed."""

    number: int
    result: bytes | None


class NodeUpdate(NodeWord, frozen=True, array_like=True, gc=False, tag="u"):
    """An account's number and what it tells: JSON, as it is sent. ``skip`` is the id of a socket."""

    account: str
    seq: int
    session: str | None
    machine: str | None
    skip: str | None
    payload: bytes


class Wake(NodeWord, frozen=True, array_like=True, gc=False, tag="w"):
    """An account's number was taken; what it tells is to be read from the log."""

    account: str
    seq: int


class NodeSignal(NodeWord, frozen=True, array_like=True, gc=False, tag="s"):
    """A passing signal: JSON, as it is sent. ``state`` is what it tells the latest of."""

    account: str
    session: str | None
    machine: str | None
    state: tuple[str, str] | None
    payload: bytes


class NodeState(NodeWord, frozen=True, array_like=True, gc=False, tag="st"):
    """Everything that the node has of an account. ``ask`` wants the others' as well.

    ``users`` tells that user-scoped clients are connected or expected, ``viewing`` that one is looked at.
    ``methods`` have their ranks, ``stopped`` sessions the seconds for which their heartbeats are ignored.
    """

    account: str
    ask: bool
    users: bool
    viewing: bool
    machines: list[str]
    methods: dict[str, int]
    stopped: dict[str, float]


class NodeChange(NodeWord, frozen=True, array_like=True, gc=False, tag="ch"):
    """What has changed of a node's :class:`NodeState`: machines that came and went, methods likewise."""

    account: str
    users: bool
    viewing: bool
    came: list[str]
    went: list[str]
    offered: dict[str, int]
    withdrawn: list[str]


class Stop(NodeWord, frozen=True, array_like=True, gc=False, tag="x"):
    """A session's heartbeats are to be ignored for so many seconds, or not any more."""

    account: str
    session: str
    seconds: float


class Unhosted(NodeWord, frozen=True, array_like=True, gc=False, tag="g"):
    """The node hosts the account no longer."""

    account: str


class Resync(NodeWord, frozen=True, array_like=True, gc=False, tag="rs"):
    """I took you for dead: tell me everything again."""


class NodeCall(NodeWord, frozen=True, array_like=True, gc=False, tag="c"):
    """A call of a method that the receiver offers; ``params`` are JSON, if any."""

    number: int
    account: str
    method: str
    params: bytes | None


class NodeAnswer(NodeWord, frozen=True, array_like=True, gc=False, tag="a"):
    """What became of a call: the answer's arguments, JSON each; None if there is none.

    ``delivered`` tells that the target has heard of it, and perhaps acted.
    """

    number: int
    arguments: list[bytes] | None
    delivered: bool = True


class Claim(NodeWord, frozen=True, array_like=True, gc=False, tag="cl"):
    """A client that you may know came to me: who it is, and what it presents.

    I tell it of updates from the number ``since`` on.
    """

    number: int
    account: str
    scope: Scope
    subject: str
    declared: bool
    pid: str
    offset: str
    since: int


class Belongings(Struct, frozen=True, array_like=True, gc=False):
    """What a client leaves behind: the id of its socket, its methods, the number of the next call to it.

    ``missed`` are events that it has not heard, each a name and its JSON; with them it has heard of all
    updates before the number ``until``. ``heard`` are digests of the signals that it heard last.
    """

    id: str
    methods: list[str]
    next_call: int | None
    missed: list[tuple[str, bytes]]
    heard: list[bytes]
    until: int


class Claimed(NodeWord, frozen=True, array_like=True, gc=False, tag="cd"):
    """It is yours; or, with nothing, it is not known here, or not well enough."""

    number: int
    belongings: Belongings | None


AnyWord = (
    Beat
    | Bye
    | Look
    | Use
    | Order
    | Obeyed
    | NodeUpdate
    | Wake
    | NodeSignal
    | NodeState
    | NodeChange
    | Stop
    | Unhosted
    | Resync
    | NodeCall
    | NodeAnswer
    | Claim
    | Claimed
)

encode: Final[Callable[[NodeWord], bytes]] = msgspec.msgpack.Encoder().encode
"""The payload for a bus."""

_decoder = msgspec.msgpack.Decoder(AnyWord)


def beginning(node: str) -> bytes:
    """What only words of a node have in their first :data:`BEGINNING` bytes: its name, after their tag."""
    return msgspec.msgpack.encode(node)


def decode(payload: bytes) -> AnyWord | None:
    """What was said; None for what is no message of ours."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        return None

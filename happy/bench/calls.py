"""Both ends of remote calls (realtime.md B.7), masked in advance."""

from __future__ import annotations

import msgspec

from happy.bench.bench import Bench
from happy.bench.frames import Template
from happy.bench.links import Link
from happy.bench.loop import now

_WIDTH = 10
_FIRST = 10 ** (_WIDTH - 1)
"""Calls are numbered with as many digits each; the number is the ack id and begins the parameters."""
_REQUEST = b'["rpc-request"'
_REGISTERED = b'42["rpc-registered"'
_PARAMS = b'"params":"'


class _Outcome(msgspec.Struct, gc=False):
    ok: bool
    result: str | None = None
    error: str | None = None


class _Outcomes(msgspec.Struct, gc=False, array_like=True):
    first: _Outcome


_decode = msgspec.json.Decoder(_Outcomes).decode


class Answering:
    """Answers each call with ``text``, after the call's number."""

    def __init__(self, link: Link, text: str) -> None:
        self._link = link
        self._tail = b'%s"]' % text[_WIDTH:].encode()
        self._frames: dict[int, Template] = {}
        self.registered = False

    def register(self, method: str) -> None:
        """Offer a method; ``registered`` tells when the server has it."""
        self._link.emit("rpc-register", {"method": method})

    def heard(self, packet: bytes) -> bool:
        """Answer if the packet is a call; whether the packet was about calls."""
        start = packet.find(b"[")
        if packet.startswith(_REQUEST, start):
            position = packet.find(_PARAMS, start) + len(_PARAMS)
            self._answer(packet[2:start], packet[position : position + _WIDTH])
            return True
        if packet.startswith(_REGISTERED):
            self.registered = True
            return True
        return False

    def _answer(self, ack: bytes, number: bytes) -> None:
        part = b'43%s["%s' % (ack, number)
        frame = self._frames.get(len(part))
        if frame is None:
            frame = self._frames[len(part)] = self._link.template(b"", len(part), self._tail)
        self._link.write(frame.fill(part))


class Calling:
    """Calls one method. Answers are timed as ``calls``; failures are errors."""

    def __init__(self, bench: Bench, link: Link, method: str) -> None:
        self._bench = bench
        self._link = link
        self._due: dict[int, float] = {}
        self._next = _FIRST
        filler = bench.text(max(0, bench.load.size - _WIDTH)).encode()
        self._middle = b'["rpc-call",{"method":%s,"params":"' % msgspec.json.encode(method)
        self._frame = link.template(b"42", 2 * _WIDTH + len(self._middle), filler + b'"}]')

    @property
    def waiting(self) -> int:
        """Calls without an answer."""
        return len(self._due)

    def call(self, due: float) -> None:
        """Make a call that was due at that time."""
        number, self._next = self._next, self._next + 1
        digits = b"%d" % number
        self._due[number] = due
        self._link.write(self._frame.fill(digits + self._middle + digits))

    def heard(self, packet: bytes) -> bool:
        """Whether the packet was an answer."""
        if not packet.startswith(b"43"):
            return False
        end = packet.index(b"[")
        number = int(packet[2:end])
        due = self._due.pop(number, None)
        if due is None:
            self._bench.verdict.duplicated += 1
        else:
            self._judge(_decode(packet[end:]).first, number, now() - due)
        return True

    def _judge(self, outcome: _Outcome, number: int, seconds: float) -> None:
        if not outcome.ok:
            self._bench.recorder.error(f"call failed: {outcome.error}")
        elif outcome.result is None or not outcome.result.startswith(str(number)):
            self._bench.recorder.error("call got another call's answer")
        else:
            self._bench.recorder.note("calls", seconds)

"""Base64 of any length in requests."""

from __future__ import annotations

import tracemalloc

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from happy.api.structs import Invalid
from happy.base.codecs import encode_base64
from happy.base.pace import Pace
from happy.capabilities._base64 import decoded_in_turns, decoded_leniently_in_turns

LARGE = bytes(range(256)) * 20_000


class TurnTests(SynchronousTestCase):
    """What others notice of it."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.pace = Pace(self.clock)

    def test_small(self) -> None:
        """A short text is there at once."""
        self.assertEqual(self.successResultOf(self.strict("AQID")), b"\1\2\3")

    def strict(self, text: str) -> Deferred[bytes]:
        return Deferred.fromCoroutine(decoded_in_turns(self.pace, "a", text, "value"))

    def test_large(self) -> None:
        """Others come in between when it takes longer."""
        for decode in (decoded_in_turns, decoded_leniently_in_turns):
            decoding = Deferred.fromCoroutine(decode(self.pace, "a", encode_base64(LARGE)))
            self.assertNoResult(decoding)
            self.clock.advance(0)
            self.assertEqual(self.successResultOf(decoding), LARGE)

    def test_one_copy(self) -> None:
        """What was decoded is not copied in one go at the end."""
        text = encode_base64(LARGE)
        for decode in (decoded_in_turns, decoded_leniently_in_turns):
            tracemalloc.start()
            try:
                decoding = Deferred.fromCoroutine(decode(self.pace, "a", text))
                self.clock.advance(0)
                _, most = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            self.assertEqual(self.successResultOf(decoding), LARGE)
            self.assertLess(most, 2 * len(LARGE))

    def test_no_base64(self) -> None:
        """What is wrong is told of, wherever it is."""
        for text in ("A", encode_base64(LARGE) + "AQ=D"):
            decoding = self.strict(text)
            self.clock.advance(0)
            self.assertIn("body/value", str(self.failureResultOf(decoding, Invalid).value))

    def test_many(self) -> None:
        """Of texts that are not short, each waits for its account's turn."""
        text = encode_base64(LARGE[:30_000])
        self.pace.begin()
        waiting = [Deferred.fromCoroutine(decoded_in_turns(self.pace, "a", text)) for _ in range(3)]
        for decoding in waiting:
            self.assertNoResult(decoding)
        self.clock.advance(0)
        for decoding in waiting:
            self.assertEqual(self.successResultOf(decoding), LARGE[:30_000])

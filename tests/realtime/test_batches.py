"""What one sender appends, in memory."""

from __future__ import annotations

from typing import Any

from happy.base.errors import Overloaded
from happy.realtime.batches import Append
from happy.storage.messages import IncomingMessage


def test_one_answer() -> None:
    """Who was told what became of it is told nothing else, whatever that is."""
    for fails in (False, True):
        append = Append("account", "session", [IncomingMessage(None, "text")], None, 0.0)
        answers: list[Any] = []
        append.answer.addErrback(lambda failure: failure.type).addCallback(answers.append)
        if fails:
            append.fail(Overloaded("too late"))
        append.succeed([])
        append.succeed(None)
        append.fail(Overloaded("too late"))
        assert answers == [Overloaded if fails else []]

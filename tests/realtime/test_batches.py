"""What one sender appends, in memory."""

from __future__ import annotations

from typing import Any

from happy.base.errors import Overloaded
from happy.realtime.batches import Append
from happy.storage.messages import IncomingMessage


def test_one_answer() -> None:
    """Who was told what became of it is told nothing else, whatever that is."""
    append, answers = Append("account", "session", [IncomingMessage(None, "text")], None, 0.0), list[Any]()
    append.answer.addBoth(answers.append)
    append.succeed([])
    append.succeed(None)
    append.fail(Overloaded("too late"))
    assert answers == [[]]

"""What one sender appends, in memory."""

from __future__ import annotations

from typing import Any

from happy.base.errors import Overloaded
from happy.realtime.batches import Append, Batch, weight
from happy.storage.append import AppendedRow
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


def test_size() -> None:
    """Of each message counts whose it is, what its sender calls it, and its text."""
    messages = [IncomingMessage("local", "content"), IncomingMessage(None, "text")]
    append = Append("account", "session", messages, None, 0.0)
    assert append.size == len("session" + "local" + "content") + len("session" + "text")
    assert append.weight == weight(2, append.size)


def test_answers_are_in_order() -> None:
    """Messages are answered by their numbers: a repeated one was numbered long before."""
    append = Append(
        "account", "session", [IncomingMessage(name, "text") for name in ("new", "old")], None, 0.0
    )
    rows = [AppendedRow(1, True, "b", 9, 20, 5, 5), AppendedRow(2, False, "a", 3, None, 1, 1)]
    ((answered, stored, repeated),) = Batch([append]).answers(rows)
    assert (answered, repeated) == (append, True)
    assert stored is not None
    assert [(message.local_id, message.seq) for message in stored] == [("old", 3), ("new", 9)]

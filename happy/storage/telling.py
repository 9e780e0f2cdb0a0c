"""What follows a commit: those whom it concerns are told, and the accounts are given back."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from twisted.logger import Logger

from happy.base.redaction import describe_fault
from happy.storage.transaction import Publisher, Signal, Transaction, numbered

if TYPE_CHECKING:
    from happy.storage.linearizer import Release

_log = Logger()


async def conclude(
    tx: Transaction, numbers: Mapping[str, int], publisher: Publisher, release: Release | None = None
) -> None:
    """Deliver the outbox, wait until everybody knows, and call what else is to follow.

    ``numbers`` are those that the accounts had reached before. What fails cannot undo the commit, so it is
    logged. An account is still held while its clients are told, so that what waits to be told has a bound.
    Of several each is released when its own clients know.
    """
    deliver(tx, numbers, publisher)
    early = release if len(numbers) > 1 else None
    waits = []
    for account in numbers:
        told = publisher.told(account)
        if told is not None:
            waits.append(told)
            if early is not None:
                told.addCallback(partial(_part, early, account))
        elif early is not None:
            early.part(account)
    for told in waits:
        await told
    for callback in tx.callbacks:
        try:
            callback()
        except Exception as error:
            _log.error("what follows a commit failed: {fault}", fault=describe_fault(error))


def _part(release: Release, account: str, _: None) -> None:
    release.part(account)


def deliver(tx: Transaction, seqs: Mapping[str, int], publisher: Publisher) -> None:
    """Release the outbox: ``seqs`` holds the last number of each account before this transaction."""
    for entry in numbered(tx, seqs):
        try:
            if isinstance(entry, Signal):
                publisher.signal(entry.audience, entry.body)
            else:
                publisher.deliver(entry)
        except Exception as error:
            # A fault of ours must not keep back what has its number already.
            _log.error("Telling of a change failed: {fault}", fault=describe_fault(error))

"""Who may make an account: what the operator said, and whom it kept out.

Asked in the transaction that would make one, so it holds on all nodes from the moment when it is said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from happy.base.errors import Refusal
from happy.storage.accounts import Login, log_in
from happy.storage.types import Millis

if TYPE_CHECKING:
    from happy.storage.transaction import Transaction

HOUR: Final = 3_600_000
MOST_REFUSED: Final = 1_000
"""Fingerprints of refused keys that are kept; the latest stay."""

DIGITS: Final = 16
"""Of a fingerprint."""

OpenOrClosed = Literal["open", "closed"]

KNOWN = """
UPDATE "Account" SET "updatedAt" = %(now)s WHERE "publicKey" = %(key)s RETURNING "id"
"""

SAID = """
SELECT "registration", "passing", "until", "left" FROM "happy_access"
"""

SAID_AND_HELD = """
SELECT "registration", "passing", "until", "left" FROM "happy_access" FOR UPDATE
"""

ONE_LESS = """
UPDATE "happy_access" SET "left" = "left" - 1
"""

ADMITTED = """
DELETE FROM "happy_admissions" WHERE "fingerprint" = %(fingerprint)s
"""

SAY = """
INSERT INTO "happy_access" ("registration") VALUES (%(state)s)
ON CONFLICT ("id") DO UPDATE SET
    "registration" = EXCLUDED."registration", "passing" = NULL, "until" = NULL, "left" = NULL
"""

SAY_FOR_NOW = """
INSERT INTO "happy_access" ("passing", "until", "left") VALUES (%(state)s, %(until)s, %(left)s)
ON CONFLICT ("id") DO UPDATE SET
    "passing" = EXCLUDED."passing", "until" = EXCLUDED."until", "left" = EXCLUDED."left"
"""

ADMIT = """
INSERT INTO "happy_admissions" ("fingerprint", "admittedAt") VALUES (%(fingerprint)s, %(now)s)
ON CONFLICT ("fingerprint") DO UPDATE SET "admittedAt" = EXCLUDED."admittedAt"
"""

REFUSED = """
SELECT "fingerprint", "count", "lastAt" FROM "happy_refusals" WHERE "lastAt" > %(since)s
ORDER BY "lastAt" DESC, "fingerprint" LIMIT %(most)s
"""

NOTE_REFUSED = """
INSERT INTO "happy_refusals" AS r ("fingerprint", "count", "lastAt")
SELECT "fingerprint", "count", %(now)s FROM unnest(%(fingerprints)s::text[], %(counts)s::bigint[])
    AS noted ("fingerprint", "count")
ON CONFLICT ("fingerprint") DO UPDATE SET "lastAt" = EXCLUDED."lastAt", "count" = EXCLUDED."count"
    + CASE WHEN r."lastAt" > %(since)s THEN r."count" ELSE 0 END
"""

FORGET_REFUSED = """
DELETE FROM "happy_refusals" WHERE "lastAt" <= %(since)s OR "fingerprint" IN (
    SELECT "fingerprint" FROM "happy_refusals" ORDER BY "lastAt" DESC, "fingerprint" OFFSET %(most)s
)
"""


class RegistrationClosed(Refusal):
    """The key is unknown, and nobody may make an account."""

    status = 403
    error = "Registration is closed"


class InForce(NamedTuple):
    """What holds now: until when (ms) and for how many more accounts, if for a while."""

    state: str
    until: int | None = None
    left: int | None = None


class RefusedKey(NamedTuple):
    """A key that was refused in the last hour: how often, and when last (ms)."""

    fingerprint: str
    times: int
    last_at: int


def fingerprint(public_key: str) -> str:
    """How a key (upper-case hex) is called where people read."""
    return hashlib.sha256(bytes.fromhex(public_key)).hexdigest()[:DIGITS]


def in_force(row: tuple[str | None, str | None, int | None, int | None], default: str, now: int) -> InForce:
    """What holds, of what was said for good and what for a while; ``default`` where nothing was."""
    registration, passing, until, left = row
    if passing is not None and (until is None or until > now) and (left is None or left > 0):
        return InForce(passing, until, left)
    return InForce(registration or default)


async def enter(tx: Transaction, public_key: str, default: str) -> Login:
    """Log in with a key (upper-case hex); an unknown one makes an account, if it may.

    Raises RegistrationClosed.
    """
    known = await tx.row(KNOWN, {"key": public_key, "now": tx.now})
    if known is not None:
        return Login(known[0], made=False)
    now = await current(tx, default)
    if now.left is not None:
        now = await current(tx, default, hold=True)  # Others may be taking the last ones.
    if now.state == "closed" and not await tx.run(ADMITTED, {"fingerprint": fingerprint(public_key)}):
        raise RegistrationClosed
    login = await log_in(tx, public_key)
    if login.made and now.state == "open" and now.left is not None:
        await tx.run(ONE_LESS)
    return login


async def current(tx: Transaction, default: str, *, hold: bool = False) -> InForce:
    """What holds now; if wanted, for the rest of the transaction."""
    row = await tx.row(SAID_AND_HELD if hold else SAID)
    registration, passing, until, left = row or (None,) * 4
    return in_force((registration, passing, until, left), default, int(tx.now))


async def say(tx: Transaction, state: OpenOrClosed) -> None:
    """From now on, for good."""
    await tx.run(SAY, {"state": state})


async def say_for_now(
    tx: Transaction, state: OpenOrClosed, milliseconds: int | None, left: int | None
) -> None:
    """For so long, or for so many new accounts; then what held for good holds again."""
    until = None if milliseconds is None else Millis(tx.now + milliseconds)
    await tx.run(SAY_FOR_NOW, {"state": state, "until": until, "left": left})


async def admit(tx: Transaction, key: str) -> None:
    """Let the key of this fingerprint make an account, once."""
    await tx.run(ADMIT, {"fingerprint": key, "now": tx.now})


async def refused(tx: Transaction) -> list[RefusedKey]:
    """The keys that were refused in the last hour, the latest first."""
    found = await tx.rows(REFUSED, {"since": Millis(tx.now - HOUR), "most": MOST_REFUSED})
    return [RefusedKey._make(row) for row in found]


async def note_refused(tx: Transaction, counts: Mapping[str, int]) -> None:
    """Add to how often keys were refused, by fingerprint; forget what is old."""
    values = {"since": Millis(tx.now - HOUR), "most": MOST_REFUSED, "now": tx.now}
    columns = {"fingerprints": list(counts), "counts": list(counts.values())}
    await tx.run(NOTE_REFUSED, values | columns)
    await tx.run(FORGET_REFUSED, values)

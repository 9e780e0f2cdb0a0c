"""Who may make an account."""

from __future__ import annotations

from typing import Any

from happy.client import AccountKeys, Refused, TerminalPairing, sign_in
from happy.storage.registration import InForce, in_force
from tests.harness import psql
from tests.operator.case import OperatorCase

CLOSED = (403, {"error": "Registration is closed"})


def test_in_force() -> None:
    """What was said for a while holds until then, then what was said for good, then the setting."""
    assert in_force((None, None, None, None), "closed", 5) == InForce("closed")
    assert in_force(("open", None, None, None), "closed", 5) == InForce("open")
    assert in_force(("closed", "open", 6, None), "open", 5) == InForce("open", 6)
    assert in_force(("closed", "open", 5, None), "open", 5) == InForce("closed")
    assert in_force(("closed", "open", None, 1), "open", 5) == InForce("open", None, 1)
    assert in_force(("closed", "open", 9, 0), "open", 5) == InForce("closed")
    assert in_force((None, "closed", 9, None), "open", 5) == InForce("closed", 9)


class Entering(OperatorCase):
    """Strangers at the door."""

    fresh = True

    async def entering(self, keys: AccountKeys | None = None) -> tuple[int, Any]:
        """How a login of a key that nobody knows is answered."""
        try:
            await sign_in(self.remote(), keys or AccountKeys.generate())
        except Refused as refused:
            return refused.status, refused.body
        return 200, None


class RegistrationTests(Entering):
    """Against a server that runs with the default."""

    async def test_closed(self) -> None:
        """Unknown keys are refused and listed; known ones log in, and let terminals in."""
        phone = await self.new_phone()
        found = await self.said("registration")
        self.assertEqual(found, {"registration": "open", "until": None, "left": None, "refused": []})
        await self.said("registration", "closed")
        stranger = AccountKeys.generate()
        self.assertEqual([await self.entering(stranger) for _ in range(2)], [CLOSED, CLOSED])
        again = await sign_in(self.remote(), phone.keys)
        pairing = TerminalPairing(self.remote())
        await pairing.poll()
        await again.approve_terminal(pairing.public_key)
        self.assertEqual((await pairing.wait(interval=0)).id, phone.id)
        found = await self.said("registration")
        self.assertEqual((found["registration"], len(found["refused"])), ("closed", 1))
        self.assertEqual(found["refused"][0]["count"], 2)
        self.assertEqual(psql(self.dsn, 'SELECT count(*) FROM "Account"'), [(1,)])
        admitted = await self.said("registration", "admit", found["refused"][0]["fingerprint"][:6])
        self.assertEqual(admitted["admitted"], found["refused"][0]["fingerprint"])
        self.assertEqual(await self.entering(), CLOSED)
        self.assertEqual((await self.entering(stranger))[0], 200)
        self.assertEqual((await self.entering(stranger))[0], 200)
        self.assertIn("Keys that were refused", (await self.happyctl("registration")).out)

    async def test_for_a_while(self) -> None:
        """It opens for a number of accounts, or for a time, and is then what it was."""
        await self.said("registration", "closed")
        found = await self.said("registration", "open", "--for", "15m", "--accounts", "1")
        self.assertEqual((found["registration"], found["left"]), ("open", 1))
        self.assertEqual([(await self.entering())[0] for _ in range(2)], [200, 403])
        await self.said("registration", "open", "--for", "1s")
        psql(self.dsn, """UPDATE "happy_access" SET "until" = now() - interval '1 day'""")
        self.assertEqual((await self.said("registration"))["registration"], "closed")
        self.assertEqual(await self.entering(), CLOSED)

    async def test_wrong_words(self) -> None:
        """What makes no sense is refused in a line."""
        for wrong, status in (
            (["open", "--for", "soon"], 2),
            (["open", "--for", "0"], 2),
            (["open", "--accounts", "0"], 2),
            (["ajar"], 2),
            (["admit", "nobody"], 2),
            (["admit", "0a1b"], 1),
        ):
            ran = await self.happyctl("registration", *wrong)
            self.assertEqual((ran.status, ran.out, ran.err.count("\n")), (status, "", 1), ran)
        self.assertEqual((await self.said("registration"))["registration"], "open")


class ClosedFromTheStartTests(Entering):
    """Against a server whose setting is that it is closed."""

    settings = {"registration": "closed"}  # noqa: RUF012

    async def test_closed(self) -> None:
        """Nobody may make an account, until the operator says otherwise for good."""
        self.assertEqual(await self.entering(), CLOSED)
        await self.said("registration", "open")
        self.assertEqual((await self.entering())[0], 200)

"""Usage reports and their sums (http.md U4, realtime.md B.6)."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extras import Json
from twisted.internet.defer import Deferred

from happy.api.structs import Invalid, decode_value
from happy.capabilities.usage import Report, invalid_report
from happy.realtime.updates import encode_ephemeral
from happy.settings.config import Config
from tests.capabilities.calling import CallingCase
from tests.harness import psql

NOON = 1_577_880_000
"""2020-01-01 12:00 UTC, in seconds."""


def counts(total: float, **others: Any) -> dict[str, Any]:
    return {"total": total, **others}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
ENTRIES = JSON | st.fixed_dictionaries({"total": JSON})
REPORTS = JSON | st.fixed_dictionaries(
    {}, optional={"key": JSON, "tokens": ENTRIES, "cost": ENTRIES, "sessionId": JSON}
)


@given(REPORTS)
def test_every_unfit_report_is_explained(data: Any) -> None:
    """A report that does not decode gets an explanation, and one that decodes has what it says."""
    try:
        report = decode_value(Report, data)
    except Invalid:
        assert invalid_report(data)["success"] is False
        assert invalid_report(data)["error"]
    else:
        assert report.key == data["key"]
        assert report.tokens["total"] == data["tokens"]["total"]
        assert isinstance(report.session_id, str) or report.session_id in (None, False, 0)


def test_infinite_totals() -> None:
    """A total beyond all floats is none."""
    report = {"key": "k", "tokens": counts(float("inf")), "cost": counts(1)}
    assert invalid_report(report)["error"] == "Invalid tokens object - must include total"


class ReportTests(CallingCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.new_account()
        self.session = await self.open_session(self.account)

    async def _report(self, **members: Any) -> Any:
        report = {"key": "k", "sessionId": self.session, "tokens": counts(10), "cost": counts(0.5)}
        return await self.emit(self.account, "usage-report", report | members)

    async def test_announced(self) -> None:
        """Devices hear the numbers, with zeros for those the app insists on (D-15)."""
        odd = {"extra": 2, "text": "x", "yes": True}
        answer = await self._report(tokens=counts(10, input=3, **odd))
        self.assertEqual(answer["success"], True)
        self.assertEqual(answer["createdAt"], answer["updatedAt"])
        self.assertEqual(
            self.signalled(self.account),
            [
                {
                    "type": "usage",
                    "id": self.session,
                    "key": "k",
                    "tokens": {
                        "total": 10,
                        "input": 3,
                        "output": 0,
                        "cache_creation": 0,
                        "cache_read": 0,
                        "extra": 2,
                    },
                    "cost": {"total": 0.5, "input": 0, "output": 0},
                    "timestamp": answer["createdAt"],
                }
            ],
        )
        stored = psql(self.dsn, 'SELECT "data" FROM "UsageReport" WHERE "id" = %s', (answer["reportId"],))
        self.assertEqual(stored, [({"tokens": counts(10, input=3, **odd), "cost": counts(0.5)},)])

    async def test_whole_numbers(self) -> None:
        """A whole number is announced as such, however it was written (realtime.md A.11)."""
        await self._report(tokens=counts(10.0), cost=counts(-0.0, input=1e300))
        (_, usage), *_ = self.hub.signals
        self.assertIn(b'"tokens":{"total":10,', encode_ephemeral(usage))
        self.assertIn(b'"cost":{"total":0,"input":1e300,', encode_ephemeral(usage))

    async def test_replaced(self) -> None:
        """A report with a known key replaces the former one and keeps its creation time."""
        first = await self._report()
        second = await self._report(tokens=counts(3))
        self.assertEqual([second["reportId"], second["createdAt"]], [first["reportId"], first["createdAt"]])
        answer = await self.post(self.account, "/v1/usage/query", {})
        self.assertEqual(answer["totalReports"], 1)
        self.assertEqual(answer["usage"][0]["tokens"], {"total": 3})

    async def test_bounds(self) -> None:
        """A report of many or long names, and a key that is no name any more, are refused."""
        for members, error in (
            ({"tokens": counts(1, **{str(number): 1 for number in range(3000)})}, "Invalid tokens object"),
            ({"cost": counts(1, **{"x" * 20_000: 1})}, "Invalid tokens object"),
            ({"key": "k" * 501}, "Invalid key"),
        ):
            answer = await self._report(**members)
            self.assertEqual(answer["success"], False)
            self.assertTrue(answer["error"].startswith(error), answer)
        self.assertEqual((await self.post(self.account, "/v1/usage/query", {}))["totalReports"], 0)

    async def test_huge_reports_of_former_times(self) -> None:
        """One that was stored before there was a bound is counted, and costs the sums nothing."""
        small, huge = await self._report(), await self._report(key="huge")
        names = {f"{number} {hash(number * 7919.5)}": number for number in range(20_000)}
        psql(
            self.dsn,
            'UPDATE "UsageReport" SET "data" = %s WHERE "id" = %s',
            (Json({"tokens": counts(1, **names), "cost": counts(1)}), huge["reportId"]),
        )
        answer = await self.post(self.account, "/v1/usage/query", {})
        self.assertEqual((answer["totalReports"], answer["usage"][0]["tokens"]), (2, {"total": 10}))
        self.assertEqual(small["success"], True)

    async def test_without_session(self) -> None:
        """Reports of no session are kept one for each key, and shown to nobody (D-26)."""
        first = await self._report(sessionId=None)
        for nothing in ("", 0, False):
            second = await self._report(sessionId=nothing, tokens=counts(4))
            self.assertEqual(first["reportId"], second["reportId"])
        other = await self._report(sessionId=None, key="other")
        self.assertNotEqual(first["reportId"], other["reportId"])
        self.assertEqual(self.signalled(self.account), [])
        self.assertEqual((await self.post(self.account, "/v1/usage/query", {}))["totalReports"], 2)

    async def test_session_must_be_owned(self) -> None:
        """Reports for unknown and foreign sessions are not stored."""
        stranger = await self.new_account()
        foreign = await self.open_session(stranger)
        for session in (foreign, "none"):
            answer = await self._report(sessionId=session)
            self.assertEqual(answer, {"success": False, "error": "Session not found"})
        self.assertEqual((await self.post(self.account, "/v1/usage/query", {}))["totalReports"], 0)

    async def test_unfit(self) -> None:
        """What is wrong with a report is said in the contract's order."""
        tokens = "Invalid tokens object - must include total"
        for members, error in (
            ({"key": "", "tokens": 5}, "Invalid key"),
            ({"key": 5}, "Invalid key"),
            ({"tokens": {"input": 1}, "cost": None}, tokens),
            ({"tokens": {"total": "1"}}, tokens),
            ({"tokens": {"total": True}}, tokens),
            ({"cost": []}, "Invalid cost object - must include total"),
            ({"sessionId": {"not": 1}}, "Invalid sessionId"),
            ({"sessionId": []}, "Invalid sessionId"),
            ({"sessionId": True}, "Invalid sessionId"),
        ):
            self.assertEqual(await self._report(**members), {"success": False, "error": error})
        for data, error in ((None, "Internal error"), ([], "Invalid key"), ("k", "Invalid key")):
            answer = await self.emit(self.account, "usage-report", data)
            self.assertEqual(answer, {"success": False, "error": error})
        answer = await self._report(tokens=counts(1, note="\0"))
        self.assertEqual(answer, {"success": False, "error": "Failed to save usage report"})


class QueryTests(CallingCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.new_account()
        self.session = await self.open_session(self.account)
        self.made = 0

    def _store(self, seconds: int, data: str, session: str | None = None) -> None:
        self.made += 1
        psql(
            self.dsn,
            'INSERT INTO "UsageReport" '
            '("id", "key", "accountId", "sessionId", "data", "createdAt", "updatedAt") '
            "VALUES (%s, %s, %s, %s, %s, to_timestamp(%s) AT TIME ZONE 'UTC', now())",
            (f"{self.account} {self.made}", str(self.made), self.account, session, data, seconds),
        )

    async def test_one_at_a_time(self) -> None:
        """An account's sums are made one after another: they keep one processor busy at most."""
        release = await self.server.database.linearizer.acquire([f"sums {self.account}"])
        asked = Deferred.fromCoroutine(self._query())
        await self.post(await self.new_account(), "/v1/usage/query", {})
        self.assertNoResult(asked)
        release()
        self.assertEqual((await asked)["totalReports"], 0)

    async def _query(self, **members: Any) -> Any:
        return await self.post(self.account, "/v1/usage/query", members)

    async def test_sums(self) -> None:
        """Numbers are added by name for each hour or day, by time; other values are skipped."""
        self._store(NOON + 10, '{"tokens": {"total": 1, "input": 2}, "cost": {"total": 0.1}}')
        self._store(NOON + 20, '{"tokens": {"total": 3, "note": "x"}, "cost": {"total": 0.2, "n": null}}')
        self._store(NOON + 3600, '{"tokens": {"total": 5}, "cost": {}}')
        first = {
            "timestamp": NOON,
            "tokens": {"total": 4, "input": 2},
            "cost": {"total": 0.1 + 0.2},  # as clients add
            "reportCount": 2,
        }
        second = {"timestamp": NOON + 3600, "tokens": {"total": 5}, "cost": {}, "reportCount": 1}
        answer = await self._query(groupBy="hour")
        self.assertEqual(answer, {"usage": [first, second], "groupBy": "hour", "totalReports": 3})
        answer = await self._query()
        self.assertEqual(answer["groupBy"], "day")
        (day,) = answer["usage"]
        self.assertEqual([day["timestamp"], day["reportCount"]], [NOON - 12 * 3600, 3])
        self.assertEqual(day["tokens"], {"total": 9, "input": 2})

    async def test_bounds(self) -> None:
        """Bounds are seconds and inclusive; absurd ones are clamped (D21)."""
        for seconds in (NOON - 1, NOON, NOON + 1):
            self._store(seconds, '{"tokens": {"total": 1}, "cost": {"total": 1}}')
        for first, last, found in (
            (NOON, NOON, 1),
            (NOON, None, 2),
            (None, NOON, 2),
            (NOON * 1000, None, 0),
            (None, NOON * 1000, 3),
            (2**53 - 1, 2**53 - 1, 0),
        ):
            answer = await self._query(startTime=first, endTime=last)
            self.assertEqual(answer["totalReports"], found, (first, last))

    async def test_session(self) -> None:
        """A query can be about one session, which must be the caller's; empty means all."""
        stranger = await self.new_account()
        foreign = await self.open_session(stranger)
        self._store(NOON, '{"tokens": {"total": 1}, "cost": {"total": 1}}', self.session)
        self._store(NOON, '{"tokens": {"total": 1}, "cost": {"total": 1}}')
        for session, found in ((self.session, 1), ("", 2), (None, 2)):
            self.assertEqual((await self._query(sessionId=session))["totalReports"], found)
        for session in (foreign, "none"):
            answer = await self.request(self.account, "POST", "/v1/usage/query", {"sessionId": session})
            self.assertEqual(answer, (404, {"error": "Session not found"}))

    async def test_time_zone(self) -> None:
        """Hours and days begin as in the configured time zone."""
        self._store(NOON, '{"tokens": {"total": 1}, "cost": {"total": 1}}')
        self.change(config=Config(time_zone="Asia/Kolkata"))
        (hour,) = (await self._query(groupBy="hour"))["usage"]
        self.assertEqual(hour["timestamp"], NOON - 1800)
        (day,) = (await self._query(groupBy="day"))["usage"]
        self.assertEqual(day["timestamp"], NOON - 17 * 3600 - 1800)

    async def test_unfit(self) -> None:
        """Wrong types are refused; stored data that cannot be added up is a failure of its own name."""
        for body in ({"groupBy": "week"}, {"startTime": 0}, {"endTime": 1.5}, {"sessionId": 5}):
            answer = await self.request(self.account, "POST", "/v1/usage/query", body)
            self.assertEqual(answer.status, 400)
        self._store(NOON, '{"tokens": 5, "cost": {}}')
        answer = await self.request(self.account, "POST", "/v1/usage/query", {})
        self.assertEqual(answer, (500, {"error": "Failed to query usage reports"}))

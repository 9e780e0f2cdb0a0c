"""Artifacts over HTTP and sockets (http.md 6.7, realtime.md B.6)."""

from __future__ import annotations

import uuid
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, gatherResults

from happy.api.structs import Invalid, decode_value
from happy.capabilities.artifact_events import ChangeArtifact, invalid_change
from tests.capabilities.calling import CallingCase

PARTS = {"header": "aGVhZA==", "body": "Ym9keQ==", "dataEncryptionKey": "a2V5"}


JSON = st.none() | st.booleans() | st.integers(0, 3) | st.text(max_size=3) | st.just([])
PART = JSON | st.fixed_dictionaries({}, optional={"data": JSON, "expectedVersion": JSON | st.floats(0, 3)})


@given(JSON | st.fixed_dictionaries({}, optional={"artifactId": JSON, "header": PART, "body": PART}))
def test_every_unfit_change_is_explained(data: Any) -> None:
    """A change that does not decode gets one of the contract's explanations."""
    try:
        decode_value(ChangeArtifact, data)
    except Invalid:
        assert invalid_change(data)["message"] in {
            "Invalid parameters",
            "No updates provided",
            "Invalid header parameters",
            "Invalid body parameters",
        }


class ArtifactCase(CallingCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.new_account()
        self.stranger = await self.new_account()

    async def _make(self) -> str:
        artifact = str(uuid.uuid4())
        await self.post(self.account, "/v1/artifacts", {"id": artifact, **PARTS})
        self.heard(self.account)
        return artifact


class HttpTests(ArtifactCase):
    async def test_create_and_read(self) -> None:
        """Creation answers with the full object, which devices hear of; the list leaves the body out."""
        identity = str(uuid.uuid4()).upper()
        created = await self.post(self.account, "/v1/artifacts", {"id": identity, **PARTS})
        moment = created["createdAt"]
        versions = {"headerVersion": 1, "bodyVersion": 1, "seq": 0}
        times = {"createdAt": moment, "updatedAt": moment}
        self.assertEqual(created, {"id": identity, **PARTS, **versions, **times})
        announced = {"t": "new-artifact", "artifactId": identity, **created}
        del announced["id"]
        self.assertEqual(self.heard(self.account), [announced])
        self.assertEqual(await self.get(self.account, f"/v1/artifacts/{identity}"), created)
        del created["body"], created["bodyVersion"]
        self.assertEqual(await self.get(self.account, "/v1/artifacts"), [created])

    async def test_known_id(self) -> None:
        """A known id answers with what is stored; another account's is a conflict."""
        artifact = await self._make()
        stored = await self.get(self.account, f"/v1/artifacts/{artifact}")
        body = {"id": artifact, "header": "", "body": "", "dataEncryptionKey": ""}
        self.assertEqual(await self.post(self.account, "/v1/artifacts", body), stored)
        answer = await self.request(self.stranger, "POST", "/v1/artifacts", body)
        self.assertEqual(answer, (409, {"error": "Artifact with this ID already exists for another account"}))
        self.assertEqual(self.heard(self.account) + self.heard(self.stranger), [])

    async def test_not_owned(self) -> None:
        """Unknown and foreign artifacts are not found, whatever is asked."""
        artifact = await self._make()
        missing = (404, {"error": "Artifact not found"})
        for account, identity in ((self.stranger, artifact), (self.account, "not-a-uuid")):
            path = f"/v1/artifacts/{identity}"
            for method in ("GET", "DELETE"):
                self.assertEqual(await self.request(account, method, path), missing)
            for change in ({"header": "AAAA", "expectedHeaderVersion": 1}, {}):
                self.assertEqual(await self.request(account, "POST", path, change), missing)

    async def test_change(self) -> None:
        """The parts given change by version, the number grows, and devices hear the values as sent."""
        artifact = await self._make()
        path = f"/v1/artifacts/{artifact}"
        answer = await self.post(self.account, path, {"header": "AAAA", "expectedHeaderVersion": 1})
        self.assertEqual(answer, {"success": True, "headerVersion": 2})
        both = {"header": "BBBB", "expectedHeaderVersion": 2, "body": "CCCCCC", "expectedBodyVersion": 1}
        answer = await self.post(self.account, path, both)
        self.assertEqual(answer, {"success": True, "headerVersion": 3, "bodyVersion": 2})
        update = {"t": "update-artifact", "artifactId": artifact}
        header = {"value": "BBBB", "version": 3}
        self.assertEqual(
            self.heard(self.account),
            [
                {**update, "header": {"value": "AAAA", "version": 2}},
                {**update, "header": header, "body": {"value": "CCCCCC", "version": 2}},
            ],
        )
        stored = await self.get(self.account, path)
        self.assertEqual([stored["header"], stored["body"], stored["seq"]], ["BBBB", "CCCCCA==", 2])

    async def test_stale(self) -> None:
        """One stale part keeps both from being written, and only that part is answered."""
        artifact = await self._make()
        path = f"/v1/artifacts/{artifact}"
        before = await self.get(self.account, path)
        mixed = {"header": "AAAA", "expectedHeaderVersion": 1, "body": "CCCC", "expectedBodyVersion": 7}
        stale = {"success": False, "error": "version-mismatch"}
        body = {"currentBodyVersion": 1, "currentBody": PARTS["body"]}
        self.assertEqual(await self.post(self.account, path, mixed), {**stale, **body})
        header = {"currentHeaderVersion": 1, "currentHeader": PARTS["header"]}
        answer = await self.post(self.account, path, {**mixed, "expectedHeaderVersion": 0})
        self.assertEqual(answer, {**stale, **body, **header})
        self.assertEqual(await self.get(self.account, path), before)
        self.assertEqual(self.heard(self.account), [])

    async def test_nothing_takes_part(self) -> None:
        """A value without a version changes nothing and tells nobody, and is a success (D5)."""
        artifact = await self._make()
        path = f"/v1/artifacts/{artifact}"
        before = await self.get(self.account, path)
        for body in ({}, {"header": "AAAA"}, {"expectedBodyVersion": 1}):
            self.assertEqual(await self.post(self.account, path, body), {"success": True})
        self.assertEqual(await self.get(self.account, path), before)
        self.assertEqual(self.heard(self.account), [])

    async def test_race(self) -> None:
        """Of simultaneous changes with one version exactly one is stored (D5)."""
        artifact = await self._make()
        changes = [
            Deferred.fromCoroutine(
                self.post(
                    self.account,
                    f"/v1/artifacts/{artifact}",
                    {"body": text, "expectedBodyVersion": 1},
                )
            )
            for text in ("AAAA", "BBBB", "CCCC")
        ]
        answers = await gatherResults(changes)
        self.assertEqual(sorted(answer["success"] for answer in answers), [False, False, True])
        self.assertEqual(len(self.heard(self.account)), 1)

    async def test_undecodable(self) -> None:
        """What is no base64 is the caller's mistake, located, and not stored (D9)."""
        artifact = await self._make()
        for text in ("****", "-_-_", "AA", "AAAA==="):
            body = {"id": str(uuid.uuid4()), **PARTS, "dataEncryptionKey": text}
            answer = await self.request(self.account, "POST", "/v1/artifacts", body)
            self.assertEqual(answer.status, 400)
            self.assertTrue(answer.body["message"].startswith("body/dataEncryptionKey "))
            change = {"header": text, "expectedHeaderVersion": 1}
            answer = await self.request(self.account, "POST", f"/v1/artifacts/{artifact}", change)
            self.assertEqual(answer.status, 400)
        self.assertEqual(len(await self.get(self.account, "/v1/artifacts")), 1)
        self.assertEqual(self.heard(self.account), [])

    async def test_undecodable_but_not_wanted(self) -> None:
        """What would not be stored need not be base64: known ids, stale and lone parts come first."""
        artifact = await self._make()
        path = f"/v1/artifacts/{artifact}"
        stored = await self.get(self.account, path)
        create = {"id": artifact, **PARTS, "header": "*"}
        self.assertEqual(await self.post(self.account, "/v1/artifacts", create), stored)
        self.assertEqual((await self.request(self.stranger, "POST", "/v1/artifacts", create)).status, 409)
        change = {"header": "*", "expectedHeaderVersion": 7}
        self.assertEqual((await self.request(self.stranger, "POST", path, change)).status, 404)
        stale = await self.post(self.account, path, change)
        self.assertEqual([stale["success"], stale["currentHeaderVersion"]], [False, 1])
        self.assertEqual(await self.post(self.account, path, {"header": "*"}), {"success": True})

    async def test_unfit(self) -> None:
        """Ids must be UUIDs, and neither nulls nor negative versions are accepted."""
        artifact = await self._make()
        for identity in ("", "x", "123e4567-e89b-92d3-a456-426614174000"):
            answer = await self.request(self.account, "POST", "/v1/artifacts", {"id": identity, **PARTS})
            self.assertEqual(answer.body["message"], "body/id Invalid UUID")
        for change in ({"header": None, "expectedHeaderVersion": 1}, {"expectedBodyVersion": -1}):
            answer = await self.request(self.account, "POST", f"/v1/artifacts/{artifact}", change)
            self.assertEqual(answer.status, 400)

    async def test_delete(self) -> None:
        """Deleting removes the artifact and tells devices, once."""
        artifact = await self._make()
        path = f"/v1/artifacts/{artifact}"
        self.assertEqual(await self.request(self.account, "DELETE", path), (200, {"success": True}))
        self.assertEqual(self.heard(self.account), [{"t": "delete-artifact", "artifactId": artifact}])
        self.assertEqual((await self.request(self.account, "DELETE", path)).status, 404)
        self.assertEqual(self.heard(self.account), [])


def refused(message: str) -> dict[str, str]:
    return {"result": "error", "message": message}


class SocketTests(ArtifactCase):
    async def test_create_and_read(self) -> None:
        """Creating and reading answer with everything but the key; any text can be the id."""
        identity = f"of {self.account}"
        created = await self.emit(self.account, "artifact-create", {"id": identity, **PARTS})
        self.assertEqual(created["result"], "success")
        self.assertEqual([body["t"] for body in self.heard(self.account)], ["new-artifact"])
        stored = await self.get(self.account, f"/v1/artifacts/of%20{self.account}")
        del stored["dataEncryptionKey"]
        self.assertEqual(created["artifact"], stored)
        again = {"id": identity, **PARTS, "header": "eA=="}
        self.assertEqual(await self.emit(self.account, "artifact-create", again), created)
        self.assertEqual(await self.emit(self.account, "artifact-read", {"artifactId": identity}), created)
        self.assertEqual(self.heard(self.account), [])
        foreign = refused("Artifact with this ID already exists for another account")
        self.assertEqual(await self.emit(self.stranger, "artifact-create", again), foreign)

    async def test_change(self) -> None:
        """Parts change together and are echoed; one stale part keeps both from being written."""
        artifact = await self._make()
        change: dict[str, Any] = {
            "artifactId": artifact,
            "header": {"data": "AAAA", "expectedVersion": 1},
            "body": {"data": "BBBBBB", "expectedVersion": 1.0},
        }
        answer = await self.emit(self.account, "artifact-update", change)
        self.assertEqual(
            answer,
            {
                "result": "success",
                "header": {"version": 2, "data": "AAAA"},
                "body": {"version": 2, "data": "BBBBBB"},
            },
        )
        (update,) = self.heard(self.account)
        self.assertEqual(update["body"], {"value": "BBBBBB", "version": 2})
        change["header"] = {"data": "eHh4", "expectedVersion": 2}
        answer = await self.emit(self.account, "artifact-update", change)
        stale = {"currentVersion": 2, "currentData": "BBBBBA=="}
        self.assertEqual(answer, {"result": "version-mismatch", "body": stale})
        only_header = {"artifactId": artifact, "header": change["header"], "body": None}
        answer = await self.emit(self.account, "artifact-update", only_header)
        self.assertEqual(answer, {"result": "success", "header": {"version": 3, "data": "eHh4"}})

    async def test_unfit_changes(self) -> None:
        """What is wrong with a change is said in the contract's order."""
        artifact = await self._make()
        good = {"data": "AAAA", "expectedVersion": 1}
        for data, message in (
            (None, "Invalid parameters"),
            ({"header": good}, "Invalid parameters"),
            ({"artifactId": {"not": 1}, "header": good}, "Invalid parameters"),
            ({"artifactId": artifact}, "No updates provided"),
            ({"artifactId": artifact, "header": {}, "body": {}}, "Invalid header parameters"),
            ({"artifactId": artifact, "header": {**good, "data": 5}}, "Invalid header parameters"),
            ({"artifactId": artifact, "header": good, "body": {"data": "AAAA"}}, "Invalid body parameters"),
            (
                {"artifactId": artifact, "body": {**good, "expectedVersion": True}},
                "Invalid body parameters",
            ),
            ({"artifactId": artifact, "header": "", "body": 0}, "No updates provided"),
            ({"artifactId": artifact, "header": [], "body": {}}, "Invalid header parameters"),
            ({"artifactId": artifact, "header": False, "body": True}, "Invalid body parameters"),
            ({"artifactId": "none", "body": good}, "Artifact not found"),
            ({"artifactId": "none", "body": {**good, "data": "****"}}, "Artifact not found"),
            ({"artifactId": artifact, "body": {**good, "data": "****"}}, "Internal error"),
            ({"artifactId": "\0", "body": good}, "Internal error"),
        ):
            self.assertEqual(await self.emit(self.account, "artifact-update", data), refused(message))
        self.assertEqual(self.heard(self.account), [])

    async def test_undecodable_but_not_wanted(self) -> None:
        """What would not be stored need not be base64: known ids and other versions come first."""
        artifact = await self._make()
        create = {"id": artifact, **PARTS, "header": "*"}
        known = await self.emit(self.account, "artifact-create", create)
        self.assertEqual(known["artifact"]["header"], PARTS["header"])
        foreign = refused("Artifact with this ID already exists for another account")
        self.assertEqual(await self.emit(self.stranger, "artifact-create", create), foreign)
        bad, stale = {"data": "*", "expectedVersion": 1}, {"data": "AAAA", "expectedVersion": 7}
        change = {"artifactId": artifact, "header": bad, "body": stale}
        answer = await self.emit(self.account, "artifact-update", change)
        current = {"currentVersion": 1, "currentData": PARTS["body"]}
        self.assertEqual(answer, {"result": "version-mismatch", "body": current})
        self.assertEqual(self.heard(self.account), [])

    async def test_parts_that_are_nothing(self) -> None:
        """A part that is false in any way is none."""
        artifact = await self._make()
        for version, nothing in enumerate((None, "", 0, False), 1):
            change = {"artifactId": artifact, "header": {"data": "", "expectedVersion": version}}
            answer = await self.emit(self.account, "artifact-update", {**change, "body": nothing})
            self.assertEqual(answer, {"result": "success", "header": {"version": version + 1, "data": ""}})

    async def test_errors(self) -> None:
        """Incomplete calls, undecodable parts and artifacts not owned are answered with an error."""
        artifact = await self._make()
        for data in (None, {"id": "x"}, {"id": "", **PARTS}, {"id": 5, **PARTS}):
            answer = await self.emit(self.account, "artifact-create", data)
            self.assertEqual(answer, refused("Invalid parameters"))
        answer = await self.emit(self.account, "artifact-create", {"id": "x", **PARTS, "body": "****"})
        self.assertEqual(answer, refused("Internal error"))
        for name in ("artifact-read", "artifact-delete"):
            for data in (None, {}, {"artifactId": ""}, {"artifactId": 1}):
                self.assertEqual(await self.emit(self.account, name, data), refused("Invalid parameters"))
            for account, identity in ((self.account, "none"), (self.stranger, artifact)):
                answer = await self.emit(account, name, {"artifactId": identity})
                self.assertEqual(answer, refused("Artifact not found"))

    async def test_delete(self) -> None:
        """Deleting tells devices."""
        artifact = await self._make()
        answer = await self.emit(self.account, "artifact-delete", {"artifactId": artifact})
        self.assertEqual(answer, {"result": "success"})
        self.assertEqual(self.heard(self.account), [{"t": "delete-artifact", "artifactId": artifact}])

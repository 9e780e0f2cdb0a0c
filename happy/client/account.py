"""An account as one of its devices uses it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from happy.base.codecs import decode_base64url, encode_base64
from happy.client._errors import ClientError, NotPending, Refused, Undecryptable
from happy.client.crypto import AccountKeys, Cipher, Keys, seal_box
from happy.client.http import Answer, RemoteServer, decoded
from happy.client.records import (
    Machine,
    MachineRecord,
    Message,
    MessageRecord,
    Page,
    Receipt,
    Session,
    SessionRecord,
)
from happy.client.sockets import Scope, Socket, open_socket

R = TypeVar("R", SessionRecord, MachineRecord)


class Account:
    """A device's view of an account: a bearer token, and the keys that the device knows.

    Methods raise Refused for an answer other than 2xx, Undecryptable where the keys do not fit, and
    ``twisted.internet.defer.TimeoutError``.
    """

    def __init__(self, server: RemoteServer, token: str, keys: Keys) -> None:
        self.server = server
        self.token = token
        self.keys = keys

    @property
    def id(self) -> str:
        """The account's id, as the token says."""
        claims: dict[str, str] = msgspec.json.decode(decode_base64url(self.token.split(".")[1]))
        return claims["sub"]

    async def request(self, method: str, path: str, json: Any = msgspec.UNSET, **options: Any) -> Answer:
        """Make any request with the account's token; options as for :meth:`RemoteServer.request`."""
        return await self.server.request(method, path, json, token=self.token, **options)

    async def call(self, method: str, path: str, json: Any = msgspec.UNSET, **options: Any) -> Any:
        """As :meth:`request`, returning the JSON value of a successful answer."""
        return decoded(method, path, await self.request(method, path, json, **options))

    async def open_socket(self, scope: Scope | None = None, **options: Any) -> Socket:
        """A realtime socket, user-scoped unless told otherwise; options as for :func:`open_socket`."""
        return await open_socket(self.server, self.token, scope or Scope.user(), **options)

    # Pairing, from the side that approves

    async def approve_terminal(self, public_key: bytes, *, v2: bool | None = None) -> None:
        """Let a terminal in whose link was scanned, in the format it asked for unless ``v2`` is given.

        Raises NotPending if nobody asks with that key, or somebody was let in already.
        """
        text = encode_base64(public_key)
        path = "/v1/auth/request/status"
        found = await self.server.call("GET", path, params={"publicKey": text})
        if found["status"] != "pending":
            raise NotPending(found["status"])
        wants_v2 = found["supportsV2"] if v2 is None else v2
        plaintext = b"\x00" + self.keys.content_public_key if wants_v2 else self._secret()
        response = encode_base64(seal_box(plaintext, public_key))
        await self.call("POST", "/v1/auth/response", {"publicKey": text, "response": response})

    async def approve_account(self, public_key: bytes) -> None:
        """Give another device the account secret."""
        response = encode_base64(seal_box(self._secret(), public_key))
        body = {"publicKey": encode_base64(public_key), "response": response}
        await self.call("POST", "/v1/auth/account/response", body)

    def _secret(self) -> bytes:
        if not isinstance(self.keys, AccountKeys):
            raise ClientError("this device does not hold the account secret")
        return self.keys.secret

    # Sessions

    async def create_session(self, tag: str, metadata: Any, cipher: Cipher | None = None) -> Session:
        """The session with this tag, created if there is none yet, with the given cipher or a new one."""
        cipher = cipher or self.keys.new_cipher()
        wrapped = cipher.wrapped_for(self.keys.content_public_key)
        body = {"tag": tag, "metadata": cipher.seal(metadata), "dataEncryptionKey": wrapped}
        answer = await self.call("POST", "/v1/sessions", body)
        record = msgspec.convert(answer["session"], SessionRecord)
        return Session(record, self._cipher(record, cipher))

    async def sessions(self) -> list[Session]:
        """The latest sessions that the keys open, latest change first."""
        answer = await self.call("GET", "/v1/sessions")
        records = msgspec.convert(answer["sessions"], list[SessionRecord])
        return [Session(record, cipher) for record, cipher in self._openable(records)]

    async def archive_session(self, session: Session) -> None:
        """Mark a session as over."""
        await self.call("POST", f"/v1/sessions/{_segment(session.id)}/archive", {})

    async def delete_session(self, session: Session) -> None:
        """Remove a session with everything in it."""
        await self.call("DELETE", f"/v1/sessions/{_segment(session.id)}")

    # Messages

    async def send_messages(
        self, session: Session, values: Iterable[Any], local_ids: Iterable[str] | None = None
    ) -> list[Receipt]:
        """Store messages, in order. The same ``local_ids`` again store nothing again."""
        sealed = [session.cipher.seal(value) for value in values]
        names = local_ids if local_ids is not None else (str(uuid.uuid4()) for _ in sealed)
        batch = [{"content": content, "localId": name} for content, name in zip(sealed, names, strict=True)]
        path = f"/v3/sessions/{_segment(session.id)}/messages"
        answer = await self.call("POST", path, {"messages": batch})
        return msgspec.convert(answer["messages"], list[Receipt])

    async def messages(
        self, session: Session, *, after: int | None = None, before: int | None = None, limit: int = 100
    ) -> Page:
        """Messages after a number, in order; or those before a number, backwards."""
        asked = {"after_seq": after, "before_seq": before, "limit": limit}
        path = f"/v3/sessions/{_segment(session.id)}/messages"
        params = {name: value for name, value in asked.items() if value is not None}
        answer = await self.call("GET", path, params=params)
        records = msgspec.convert(answer["messages"], list[MessageRecord])
        opened = [Message(record, session.cipher.open(record.content.c)) for record in records]
        return Page(opened, answer["hasMore"])

    # Machines

    async def register_machine(self, id: str, metadata: Any, daemon_state: Any = None) -> Machine:
        """Register this device as the machine ``id``, or read what is registered already."""
        cipher = self.keys.machine_cipher()
        wrapped = cipher.wrapped_for(self.keys.content_public_key)
        body = {"id": id, "metadata": cipher.seal(metadata), "dataEncryptionKey": wrapped}
        if daemon_state is not None:
            body["daemonState"] = cipher.seal(daemon_state)
        answer = await self.call("POST", "/v1/machines", body)
        record = msgspec.convert(answer["machine"], MachineRecord)
        return Machine(record, self._cipher(record, cipher))

    async def machines(self) -> list[Machine]:
        """The machines that the keys open, most recently active first."""
        records = msgspec.convert(await self.call("GET", "/v1/machines"), list[MachineRecord])
        return [Machine(record, cipher) for record, cipher in self._openable(records)]

    async def delete_machine(self, machine: Machine) -> None:
        """Forget a machine."""
        await self.call("DELETE", f"/v1/machines/{_segment(machine.id)}")

    # Attachments and notifications

    async def upload(self, session: Session, data: bytes) -> str:
        """Store a sealed attachment of a session; returns its reference for messages. Raises Refused."""
        sealed = session.cipher.seal_blob(data)
        path = f"/v1/sessions/{_segment(session.id)}/attachments/request-upload"
        ticket = await self.call("POST", path, {"filename": "attachment", "size": len(sealed)})
        url: str = ticket["uploadUrl"]
        if ticket["method"] == "POST":
            answer = await self.server.post_form(url, ticket["formFields"], sealed)
        else:
            headers = {"content-type": "application/octet-stream"}
            answer = await self._at(ticket["method"], url, content=sealed, headers=headers)
        if not answer.ok:
            raise Refused(ticket["method"], url, answer.status, answer.text)
        reference: str = ticket["ref"]
        return reference

    async def download(self, session: Session, reference: str) -> bytes:
        """The bytes of an attachment. Raises Refused and Undecryptable."""
        path = f"/v1/sessions/{_segment(session.id)}/attachments/request-download"
        ticket = await self.call("POST", path, {"ref": reference})
        url: str = ticket["downloadUrl"]
        answer = await self._at("GET", url)
        if not answer.ok:
            raise Refused("GET", url, answer.status, answer.text)
        return session.cipher.open_blob(answer.content)

    async def _at(self, method: str, url: str, **options: Any) -> Answer:
        """A request to an address that the server gave: with the token only if it is the server's own."""
        token = self.token if url.startswith(self.server.url) else None
        return await self.server.request(method, url, token=token, **options)

    async def push_event(
        self, session: Session, kind: str, title: str, body: str, data: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Tell the user's devices about a session; returns what became of it (http.md P4)."""
        event: dict[str, Any] = {"kind": kind, "title": title, "body": body}
        if data is not None:
            event["data"] = data
        path = f"/v1/sessions/{_segment(session.id)}/push-event"
        outcome: dict[str, Any] = await self.call("POST", path, event)
        return outcome

    # Ciphers of records

    def _cipher(self, record: SessionRecord | MachineRecord, offered: Cipher) -> Cipher:
        """The cipher of a record: the one we offered if it fits, else that of the key the record has."""
        try:
            offered.open(record.metadata)
        except Undecryptable:
            return self.keys.cipher_of(record.data_encryption_key)
        return offered

    def _openable(self, records: list[R]) -> Iterable[tuple[R, Cipher]]:
        for record in records:
            try:
                yield record, self.keys.cipher_of(record.data_encryption_key)
            except Undecryptable:
                continue


async def sign_in(server: RemoteServer, keys: AccountKeys) -> Account:
    """Sign in with the account secret; an account that does not exist yet is created."""
    answer = await server.call("POST", "/v1/auth", keys.login())
    return Account(server, answer["token"], keys)


def _segment(text: str) -> str:
    """A value as one segment of a path."""
    return quote(text, safe="")

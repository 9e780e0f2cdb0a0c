"""Device tokens, and notifications of session events (http.md 6.10, realtime.md B.10)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType
from twisted.logger import Logger

from happy.api.declare import Caller, Capability
from happy.api.structs import Body, Reply, Size200, Size500, Timestamp
from happy.base.redaction import describe_fault
from happy.capabilities._replies import Success
from happy.capabilities._sessions import SessionNotFound, check_owner
from happy.capabilities.server import Server
from happy.outbound.expo import Delivery, Notice
from happy.realtime.updates import SessionEvent, watchers_of_session
from happy.storage import push_tokens
from happy.storage.transaction import Transaction

_DEVICES = 1000
"""Devices of an account that are listed and notified: those registered last."""

_ERROR_NAME = re.compile("[A-Z][A-Za-z]{2,40}|HTTP [0-9]{3}|Network error|Internal error")

_log = Logger()

push = Capability("push")


class Device(Body):
    token: Annotated[str, Meta(max_length=500)]


class DeviceToken(Reply):
    """A registered device."""

    id: str
    token: str
    created_at: Timestamp
    updated_at: Timestamp


class DeviceTokens(Reply):
    tokens: list[DeviceToken]


class Happening(Body):
    """Something a session's owner wants to know; ``data`` goes to the app with the notification."""

    kind: Literal["done", "permission", "question"]
    title: Size200
    body: Size500
    data: dict[str, Any] | UnsetType = UNSET


class PushOutcome(Reply):
    """What became of a notification.

    ``tokens`` counts accepted ones (``sent``) or registered devices (``partial``).
    """

    success: Literal[True] = True
    result: Literal["sent", "partial", "suppressed", "no_tokens", "failed"]
    tokens: int | UnsetType = UNSET
    delivered: int | UnsetType = UNSET
    reason: str | UnsetType = UNSET


@push.post("/v1/push-tokens", failure={"error": "Failed to register push token"})
async def register(tx: Transaction, caller: Caller, body: Device) -> Success:
    """Notify this device from now on."""
    await push_tokens.register(tx, caller.account, body.token)
    return Success()


@push.delete("/v1/push-tokens/:token", failure={"error": "Failed to delete push token"})
async def unregister(tx: Transaction, caller: Caller, token: str) -> Success:
    """Notify this device no more; it need not have been registered."""
    await push_tokens.remove(tx, caller.account, [token])
    return Success()


@push.get("/v1/push-tokens", failure={"error": "Failed to get push tokens"})
async def devices(tx: Transaction, caller: Caller) -> DeviceTokens:
    """The registered devices, the latest first."""
    rows = await push_tokens.newest(tx, caller.account, _DEVICES)
    return DeviceTokens(tokens=[DeviceToken(**row._asdict()) for row in rows])


@push.post("/v1/sessions/:sessionId/push-event", refuses=(SessionNotFound,))
async def announce(server: Server, caller: Caller, session_id: str, body: Happening) -> PushOutcome:
    """Tell connected clients what happened, and every device if nobody is looking at a client."""
    account = caller.account
    await check_owner(server, caller, session_id)
    event = SessionEvent(
        session_id=session_id,
        kind=body.kind,
        title=body.title,
        body=body.body,
        timestamp=int(server.now() * 1000),
    )
    server.hub.signal(watchers_of_session(account, session_id), event)
    outcome = await _delivered(server, account, session_id, body)
    server.metrics.happy_push_total.labels(outcome=outcome.result).inc()
    if outcome.result == "failed":
        server.events.push_failed(account, _in_a_word(str(outcome.reason)))
    return outcome


def _in_a_word(reason: str) -> str:
    """A reason without what the service may quote: names of errors only."""
    return reason if _ERROR_NAME.fullmatch(reason) else "the push service did not take it"


async def _delivered(server: Server, account: str, session: str, happening: Happening) -> PushOutcome:
    """Push unless somebody is looking; whatever goes wrong is an outcome, not a failed request."""
    if (acquainted := server.hub.acquainted(account)) is not None:
        await acquainted
    if server.hub.viewing(account):
        return PushOutcome(result="suppressed", reason="active-ui-client")
    try:
        return await _notify(server, account, session, happening)
    except Exception as error:
        _log.error("Notifying devices failed: {fault}", fault=describe_fault(error))
        return PushOutcome(result="failed", reason="Internal error")


async def _notify(server: Server, account: str, session: str, happening: Happening) -> PushOutcome:
    """Push to every device of the account, and forget those that are gone."""
    rows = await server.database.read(lambda tx: push_tokens.newest(tx, account, _DEVICES), owner=account)
    if not rows:
        return PushOutcome(result="no_tokens")
    data = {} if happening.data is UNSET else happening.data
    data = {**data, "sessionId": session, "kind": happening.kind}  # neither is the client's to choose (D26)
    notice = Notice(happening.title, happening.body, data)
    deliveries = await server.expo.send(account, [row.token for row in rows], notice)
    await _forget(server, account, [delivery.token for delivery in deliveries if delivery.gone])
    return _outcome(deliveries)


async def _forget(server: Server, account: str, tokens: Sequence[str]) -> None:
    """Delete tokens of devices that are gone; a failure leaves them for the next notification."""
    if not tokens:
        return
    try:
        await server.database.transact(lambda tx: push_tokens.remove(tx, account, tokens), owner=account)
    except Exception as error:
        # Not left to the caller's, for which nothing was pushed then.
        _log.warn("Tokens of devices that are gone stay: {fault}", fault=describe_fault(error))


def _outcome(deliveries: Sequence[Delivery]) -> PushOutcome:
    errors = [delivery.error for delivery in deliveries if delivery.error is not None]
    accepted = len(deliveries) - len(errors)
    if not errors:
        return PushOutcome(result="sent", tokens=accepted)
    reason = ", ".join(errors)
    if not accepted:
        return PushOutcome(result="failed", reason=reason)
    return PushOutcome(result="partial", tokens=len(deliveries), delivered=accepted, reason=reason)

"""Everything that a client can do wrong, as fast as it can: what it is worth to the log is one line, once.

Malformed packets and frames, heads and bodies, wrong tokens and signatures, texts that PostgreSQL does not
take, calls that fail, sockets that are dropped. A right server answers and counts, and bounds a minute's
lines.
"""

from tests.hostile.clients import BINARY, GONE, PING, event, frame, head, request
from tests.hostile.scene import CANARY, Scene, composed

NEST = b"[" * 600 + b"]" * 600


def attack(scene: Scene) -> str:
    """All of it in turns, on new connections."""
    token = scene.login()
    session = scene.session(token)
    plain, joined = _of_anybody(token), _of_an_account(session, token)
    count = 0
    for number in scene.until(0.45, 15):
        for data in (plain[number % len(plain)], joined[number % len(joined)]):
            try:
                lane = scene.dial(timeout=2) if data[:1].isalpha() else scene.socket(token, timeout=2)
                lane.write(data)
                lane.plain.settimeout(0.02)
                lane.drain()
            except GONE:
                pass
            lane.close()
            count += 1
    return f"{count} connections"


def _of_anybody(token: str) -> list[bytes]:
    return [
        frame(b'451-["x",{"_placeholder":true,"num":0},%s]' % NEST) + frame(b"a", BINARY),
        frame(b'42["%s",%s]' % (CANARY.encode(), NEST)),
        frame(b"\xff\xfe") + frame(b"9") + frame(b"42["),
        frame(b"x" * 126, PING),
        b"GET /" + CANARY.encode() + b"%ff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"NONSENSE " + CANARY.encode() + b"\r\n\r\n",
        head("GET", "/v1/sessions", f"{CANARY}.{token}"),
        request("POST", "/v1/auth", b"{") * 10,
        composed("POST", "/v1/auth", {"publicKey": CANARY, "challenge": "", "signature": "x"}) * 10,
        head("POST", "/v1/auth", None, 1 << 40),
        composed("POST", "/v1/connect/github/webhook", {"a": CANARY}) * 10,
        request("GET", "/v1/connect/github/callback?code=1&state=" + CANARY) * 10,
    ]


def _of_an_account(session: str, token: str) -> list[bytes]:
    nul = f"{CANARY}\0"
    return [
        composed("POST", f"/v3/sessions/{session}/messages", {"messages": [_message(nul)]}, token) * 10,
        composed("POST", "/v1/sessions", {"tag": nul, "metadata": nul}, token) * 10,
        composed("POST", "/v1/kv", {"mutations": [{"key": nul, "value": "YQ==", "version": -1}]}, token) * 10,
        composed("POST", "/v1/kv", {"mutations": [_mutation()]}, token) * 10,
        request("GET", "/v1/kv/%00" + CANARY, token=token) * 10,
        composed(
            "POST", f"/v1/sessions/{session}/push-event", {"kind": "done", "title": nul, "body": ""}, token
        ),
        event("message", {"sid": nul, "message": nul, "localId": nul}, 1) * 50,
        event("update-metadata", {"sid": session, "metadata": nul, "expectedVersion": 0}, 1) * 50,
        event("usage-report", {"key": nul, "tokens": {"total": 1}, "cost": {"total": 1}}, 1) * 50,
        event("machine-alive", {"machineId": nul, "time": 1e300}, 1) * 50,
        event("artifact-create", {"id": nul, "header": nul, "body": nul, "dataEncryptionKey": nul}, 1) * 50,
        event("rpc-call", {"method": nul, "params": nul}, 1) * 50,
    ]


def _message(text: str) -> dict[str, object]:
    return {"content": text, "localId": text}


def _mutation() -> dict[str, object]:
    return {"key": CANARY * 800, "value": "YQ==", "version": 2**53 - 1}

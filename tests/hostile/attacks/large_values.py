"""Single values of dozens of megabytes, some longer as JSON: messages, metadata, settings, keys, artifacts.

A right server reads, stores, tells and repeats each a portion at a time, with others in between.
"""

import json
from collections.abc import Iterator

from tests.hostile.clients import GONE
from tests.hostile.scene import Scene, swallow


def attack(scene: Scene) -> str:
    """One after the other, beside sockets that read, and such that do not."""
    token, size, taken = scene.login(), scene.pick(600_000, 60_000_000), 0
    session = scene.session(token)
    links = scene.crowd(scene.pick(3, 6), lambda number: scene.socket(token, timeout=60))
    for link in links[::2]:
        swallow(link)
    posts = _posts(session, size)
    for _ in scene.until(0.4, 60):
        following = next(posts, None)
        if following is None:
            break
        try:
            taken += scene.ask("POST", *following, token).status == 200
        except GONE:
            continue
    for link in links:
        link.close()
    return f"{taken} values"


def _posts(session: str, size: int) -> Iterator[tuple[str, bytes]]:
    for number, filling in enumerate(_fillings(size)):
        value = json.dumps(filling, ensure_ascii=False).encode()
        message = b'{"content":%b,"localId":"%d"}' % (value, number)
        yield f"/v3/sessions/{session}/messages", b'{"messages":[%b]}' % message
        yield "/v1/sessions", b'{"tag":"%d","metadata":%b}' % (number, value)
        yield "/v1/account/settings", b'{"settings":%b,"expectedVersion":%d}' % (value, number)
    blob = b'"' + b"YWFh" * (size // 4) + b'"'
    yield "/v1/kv", b'{"mutations":[{"key":"k","value":%b,"version":-1}]}' % blob
    entries = [
        b'{"key":"k%d","value":"%b","version":-1}' % (number, b"YWFh" * (size // 400))
        for number in range(100)
    ]
    yield "/v1/kv", b'{"mutations":[%b]}' % b",".join(entries)
    names = b'"id":"6f9619ff-8b86-4d01-b42d-00cf4fc964fd","header":"YQ==","dataEncryptionKey":"YQ=="'
    yield "/v1/artifacts", b'{%b,"body":%b}' % (names, blob)


def _fillings(size: int) -> tuple[str, ...]:
    """ASCII, what is six times as long when written, wide characters, one that makes others wide, escapes."""
    return (
        "a" * size,
        "\x01" * (size // 6),
        "\U0001f600" * (size // 4),
        "é" * (size // 4) + "\U0001f600",
        '"\\' * (size // 4),
    )

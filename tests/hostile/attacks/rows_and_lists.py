"""Many artifacts, keys, access keys, machines and feed entries, and all lists of them over and over.

A right server bounds a page, and reads and writes it in pieces.
"""

from tests.hostile.clients import request
from tests.hostile.scene import Scene, composed, text

LISTS = (
    "/v1/artifacts",
    "/v1/kv?prefix=&limit=1000",
    "/v1/machines",
    "/v1/feed?limit=200",
    "/v1/friends",
    "/v1/sessions",
    "/v2/sessions?limit=200",
    "/v2/sessions/active?limit=500",
    "/v1/push-tokens",
)


def attack(scene: Scene) -> str:
    """Fill, then ask for everything on many connections that send without waiting."""
    token = scene.login()
    session = scene.session(token)
    rows = scene.pick(12, 1500)
    scene.pour([_made(number, session, token) for number in range(rows)])
    wishes = [request("GET", path, token=token) for path in LISTS]
    served = scene.together(
        scene.pick(3, 16), lambda number: scene.pour((wishes[number % 9 :] + wishes) * scene.pick(1, 6))
    )
    return f"{rows} rows, {served} connections served"


def _made(number: int, session: str, token: str) -> bytes:
    name = f"{number:08}"
    kinds = (
        ("/v1/artifacts", {"id": f"00000000-0000-4000-8000-{number:012}", "header": text(2000),
                           "body": text(9000), "dataEncryptionKey": "YWFh"}),
        ("/v1/kv", {"mutations": [{"key": name, "value": text(3000), "version": -1}]}),
        ("/v1/machines", {"id": name, "metadata": text(3000)}),
        ("/v1/sessions", {"tag": name, "metadata": text(3000)}),
        ("/v1/push-tokens", {"token": name}),
        (f"/v1/access-keys/{session}/{name}", {"data": text(500)}),
    )  # fmt: skip
    path, value = kinds[number % len(kinds)]
    return composed("POST", path, value, token)

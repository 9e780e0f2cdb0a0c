"""Which endpoint a path belongs to (http.md 3.2)."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.api.declare import Capability
from happy.web.routes import BadPath, RouteTable

paths = Capability("paths")

_DECLARED = [
    ("GET", "/"),
    ("GET", "/v1/kv/:key"),
    ("GET", "/v1/kv"),
    ("POST", "/v1/kv/bulk"),
    ("GET", "/v1/user/search"),
    ("GET", "/v1/user/:id"),
    ("GET", "/v1/sessions/:sessionId/messages"),
    ("DELETE", "/v1/sessions/:sessionId"),
    ("GET", "/v1/connect/github/params"),
    ("GET", "/v1/connect/:vendor/token"),
    ("GET", "/v1/connect/tokens"),
    ("DELETE", "/v1/connect/github"),
    ("DELETE", "/v1/connect/:vendor"),
    ("POST", "/v1/connect/:vendor/register"),
    ("GET", "/v1/access-keys/:sessionId/:machineId"),
    ("GET", "/files/*"),
]


def _declare(method: str, path: str) -> None:
    names = [part[1:] for part in path.split("/") if part.startswith(":")]
    arguments = {"sessionId": "session_id", "machineId": "machine_id"}
    taken = [arguments.get(name, name) for name in names] + ["rest"] * path.endswith("*")
    scope: dict[str, object] = {}
    exec(f"async def handler({', '.join(f'{name}: str' for name in taken)}): ...", scope)
    paths.route(method, path, public=True)(scope["handler"])  # type: ignore[type-var]


for _method, _path in _DECLARED:
    _declare(_method, _path)

TABLE = RouteTable(paths.routes)


def find(method: str, path: str) -> tuple[str, dict[str, str]] | None:
    match = TABLE.match(method, path.encode())
    return match and (match.route.path, match.variables)


@pytest.mark.parametrize(
    ("method", "path", "template", "variables"),
    [
        ("GET", "/", "/", {}),
        ("HEAD", "/", "/", {}),
        ("GET", "/v1/kv/", "/v1/kv/:key", {"key": ""}),
        ("GET", "/v1/kv/bulk", "/v1/kv/:key", {"key": "bulk"}),
        ("GET", "/v1/kv/a%2Fb%20c%2541%C3%A4", "/v1/kv/:key", {"key": "a/b c%41ä"}),
        ("GET", "/v1/kv/a+b", "/v1/kv/:key", {"key": "a+b"}),
        ("GET", "/v1/%6Bv/x", "/v1/kv/:key", {"key": "x"}),
        ("GET", "/v1/user/search", "/v1/user/search", {}),
        ("GET", "/v1/user/search2", "/v1/user/:id", {"id": "search2"}),
        ("GET", "/v1/sessions//messages", "/v1/sessions/:sessionId/messages", {"session_id": ""}),
        ("DELETE", "/v1/sessions/", "/v1/sessions/:sessionId", {"session_id": ""}),
        ("GET", "/v1/connect/github/params", "/v1/connect/github/params", {}),
        ("GET", "/v1/connect/github/token", "/v1/connect/:vendor/token", {"vendor": "github"}),
        ("GET", "/v1/connect/tokens", "/v1/connect/tokens", {}),
        ("DELETE", "/v1/connect/github", "/v1/connect/github", {}),
        ("POST", "/v1/connect/github/register", "/v1/connect/:vendor/register", {"vendor": "github"}),
        (
            "GET",
            "/v1/access-keys/s/m",
            "/v1/access-keys/:sessionId/:machineId",
            {"session_id": "s", "machine_id": "m"},
        ),
        ("GET", "/files/", "/files/*", {"rest": ""}),
        ("GET", "/files/a/b%20c//../d", "/files/*", {"rest": "a/b c//../d"}),
        ("GET", "/v1/kv/" + "k" * 1024, "/v1/kv/:key", {"key": "k" * 1024}),
    ],
)
def test_found(method: str, path: str, template: str, variables: dict[str, str]) -> None:
    """Fixed segments win over variables, which may be empty and are decoded once."""
    assert find(method, path) == (template, variables)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/kv/" + "k" * 1025),
        ("GET", "/V1/kv/x"),
        ("GET", "/v1/sessions/"),
        ("GET", "/v1//kv"),
        ("GET", "//v1/kv"),
        ("GET", "/v1/kv/a/b"),
        ("GET", "/files"),
        ("GET", "v1/kv/x"),
        ("GET", "*"),
        ("PATCH", "/v1/kv"),
        ("POST", "/"),
        ("get", "/v1/kv"),
    ],
)
def test_not_found(method: str, path: str) -> None:
    """Case, slashes, length and method matter."""
    assert find(method, path) is None


@pytest.mark.parametrize("path", ["/v1/kv/%", "/v1/kv/%zz", "/v1/kv/%c3", "/nowhere/%e4", "/%"])
def test_bad_paths(path: str) -> None:
    """A path that cannot be decoded is neither found nor not found."""
    with pytest.raises(BadPath):
        find("GET", path)


def test_declared_twice() -> None:
    """Two endpoints cannot have one path."""
    with pytest.raises(ValueError, match="declared twice"):
        RouteTable([*paths.routes, paths.routes[0]])


@given(st.binary(max_size=40), st.sampled_from(["GET", "POST", "DELETE", "PUT"]))
def test_matching_is_total(path: bytes, method: str) -> None:
    """Any path is found, not found, or bad."""
    with suppress(BadPath):
        TABLE.match(method, b"/" + path)

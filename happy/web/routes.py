"""What a request asks for, and which endpoint that is (http.md 3.2)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from happy.api.declare import LONGEST_VARIABLE, MIB, Route

_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9a-fA-F]{2})")
_ABSOLUTE: Final = re.compile(rb"\A(?:http|ws)s?://[^/?#]*", re.IGNORECASE)
"""What a request to a proxy has before its path, and one to us may have (RFC 9112, 3.2.2)."""


class BadPath(ValueError):
    """A path with a wrong percent sequence, or one that is not UTF-8 once decoded."""


class Match(NamedTuple):
    """An endpoint and the values of its path variables, by parameter name."""

    route: Route
    variables: dict[str, str]


class Target(NamedTuple):
    """What the first line of a request asks for."""

    method: str
    uri: bytes
    path: bytes
    query: bytes
    match: Match | None
    bad: bool = False

    @property
    def limit(self) -> int:
        """The most bytes that anybody's body may have here."""
        return MIB if self.match is None else self.match.route.limit

    @property
    def strips(self) -> Mapping[int, tuple[str, ...]]:
        return {} if self.match is None else self.match.route.strips


def local_target(uri: bytes) -> bytes:
    """The path and query of a request's target.

    An address that was given with a slash at its end makes two slashes at the beginning of each path.
    """
    if uri.startswith(b"/") and not uri.startswith(b"//"):
        return uri
    local, absolute = _ABSOLUTE.subn(b"", uri, count=1)
    return b"/" + local.lstrip(b"/") if absolute or uri.startswith(b"/") else uri


@dataclass(slots=True)
class _Node:
    """One place in the tree of a method's paths."""

    fixed: dict[str, _Node] = field(default_factory=dict)
    variable: _Node | None = None
    rest: Route | None = None
    route: Route | None = None

    def add(self, segments: list[str], route: Route) -> None:
        if not segments:
            if self.route is not None:
                raise ValueError(f"{route.method} {route.path} is declared twice")
            self.route = route
        elif segments == ["*"]:
            self.rest = route
        elif segments[0].startswith(":"):
            self.variable = self.variable or _Node()
            self.variable.add(segments[1:], route)
        else:
            self.fixed.setdefault(segments[0], _Node()).add(segments[1:], route)

    def find(self, segments: list[str], place: int = 0) -> tuple[Route, list[str]] | None:
        """The route for the segments from ``place`` on, and its variables in order.

        A fixed segment wins over a variable.
        """
        if place == len(segments):
            return (self.route, []) if self.route is not None else None
        head = segments[place]
        if head in self.fixed and (found := self.fixed[head].find(segments, place + 1)):
            return found
        if self.variable is not None and _fits(head) and (found := self.variable.find(segments, place + 1)):
            return found[0], [head, *found[1]]
        return (self.rest, ["/".join(segments[place:])]) if self.rest is not None else None


def _fits(value: str) -> bool:
    return len(value) <= LONGEST_VARIABLE


class RouteTable:
    """All endpoints, by method and path."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._plain: dict[tuple[str, bytes], Match] = {}
        self._trees: dict[str, _Node] = {}
        for route in routes:
            segments = route.path.split("/")[1:]
            self._trees.setdefault(route.method, _Node()).add(segments, route)
            if not route.variables:
                self._plain[route.method, route.path.encode()] = Match(route, {})

    def match(self, method: str, path: bytes) -> Match | None:
        """What serves ``path``, still percent-encoded; None if nothing does. Raises :class:`BadPath`.

        HEAD is served wherever GET is.
        """
        method = "GET" if method == "HEAD" else method
        plain = self._plain.get((method, path))
        if plain is not None:
            return plain
        segments = _decoded(path)
        if method not in self._trees or not path.startswith(b"/"):
            return None
        found = self._trees[method].find(segments)
        return found and Match(found[0], dict(zip(found[0].variables, found[1], strict=True)))


def _decoded(path: bytes) -> list[str]:
    """The segments of a path, percent-decoded."""
    if b"%" not in path and path.isascii():
        return path[1:].decode("ascii").split("/")
    if _BAD_ESCAPE.search(path):
        raise BadPath
    try:
        return [unquote_to_bytes(segment).decode() for segment in path[1:].split(b"/")]
    except UnicodeDecodeError:
        raise BadPath from None

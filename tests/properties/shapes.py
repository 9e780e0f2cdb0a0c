"""JSON texts made at random from JSON Schema: what fits, what nearly fits, and what does not at all.

Made for speed: a schema is turned into functions once, and these write text, without a value between.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Mapping
from typing import Any

from tests.nasty import ENDLESS, NASTY

Random = random.Random
Make = Callable[[Random], str]

_NASTY = [
    *map(json.dumps, NASTY),
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\u0000\\ud83d"',
    '"' + "\\\\" * 50 + '"',
]
_NUMBERS = (
    *("0", "1", "-1", "2", "7", "100", "2147483647", "2147483648", "-2147483649", "9007199254740991"),
    *(
        "9007199254740992",
        "9223372036854775808",
        "1e30",
        "0.5",
        "1.0",
        "-0.0",
        "1e15",
        "1e308",
        "1e309",
        "-1e999",
    ),
    *("9" * 400, "0." + "3" * 400, "1E-400"),
)
_ODD = ("null", "true", "false", "[]", "{}", "[[]]", '{"a":null}', '{"":0}', "[null]", '{"a":1,"a":2}')
_BROKEN = (
    "",
    "{",
    "[",
    "NaN",
    "Infinity",
    "01",
    "+1",
    "'a'",
    '"',
    '"\\x"',
    "{,}",
    "[1,]",
    '{"a"}',
    "\ufeff{}",
    "tru",
)
_LETTERS = string.ascii_letters + string.digits + " _-=+/é\u4e16\U0001f600"


class Shapes:
    """Makers of values. ``texts`` are what ids and names may be, apart from what is nasty."""

    def __init__(self, document: Mapping[str, Any], texts: list[str]) -> None:
        self._schemas = document["components"]["schemas"]
        self._texts = [json.dumps(text) for text in texts]
        self._made: dict[str, Make] = {}

    def text(self, rng: Random) -> str:
        """A text: an id, something nasty, a few letters, or many."""
        chance = rng.random()
        if chance < 0.45:
            return rng.choice(self._texts)
        if chance < 0.6:
            return rng.choice(_NASTY)
        size = rng.randrange(12) if chance < 0.97 else rng.randrange(1000)
        return json.dumps("".join(rng.choices(_LETTERS, k=size)))

    def number(self, rng: Random) -> str:
        """A number."""
        return str(rng.randrange(-1, 6)) if rng.random() < 0.6 else rng.choice(_NUMBERS)

    def junk(self, rng: Random) -> str:
        """Anything."""
        chance = rng.random()
        if chance < 0.3:
            return rng.choice(_ODD)
        if chance < 0.5:
            return self.number(rng)
        if chance < 0.8:
            return self.text(rng)
        items = [self.junk(rng) for _ in range(rng.randrange(4))]
        if chance < 0.9:
            return f"[{','.join(items)}]"
        return f"{{{','.join(f'{self.text(rng)}:{item}' for item in items)}}}"

    def broken(self, rng: Random) -> str:
        """What is no JSON, or more than anybody should send."""
        chance = rng.random()
        if chance < 0.6:
            return rng.choice(_BROKEN)
        depth = rng.choice((100, 130, 500, 5000))
        if chance < 0.8:
            return "[" * depth + "]" * rng.choice((depth, depth, 0))
        if chance < 0.9:
            return '{"a":' * depth + "1" + "}" * depth
        return f"[{','.join([rng.choice(_ODD)] * rng.choice((1000, 30_000)))}]"

    def anything(self, schema: Mapping[str, Any], broken: float = 0.05) -> Make:
        """Values that fit the schema, nearly fit it, do not at all, or are no JSON in ``broken`` of all."""
        fitting = self.fitting(schema)

        def make(rng: Random) -> str:
            chance = rng.random()
            if chance < broken:
                return self.broken(rng)
            return fitting(rng) if chance < 0.9 else self.junk(rng)

        return make

    def fitting(self, schema: Mapping[str, Any]) -> Make:
        """Values of the declared kinds, though not always within their limits; now and then a member is
        spoiled.
        """
        if "$ref" in schema:
            return self._referred(schema["$ref"].rpartition("/")[2])
        if "const" in schema or "enum" in schema:
            constants = [json.dumps(one) for one in schema.get("enum", [schema.get("const")])]
            return lambda rng: rng.choice(constants)
        if "anyOf" in schema:
            return self._one_of([self.fitting(one) for one in schema["anyOf"]])
        kind = schema.get("type")
        if isinstance(kind, list):
            return self._one_of([self.fitting({**schema, "type": one}) for one in kind])
        return self._of_kind(kind, schema)

    def _of_kind(self, kind: str | None, schema: Mapping[str, Any]) -> Make:
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(self.fitting(schema.get("items", {})))
        makers: dict[str | None, Make] = {
            "string": self.text,
            "integer": self.number,
            "number": self.number,
            "boolean": lambda rng: rng.choice(("true", "false")),
            "null": lambda rng: "null",
        }
        return makers.get(kind, self.junk)

    def _referred(self, name: str) -> Make:
        """Looked up when it is used, since schemas may refer to themselves."""

        def make(rng: Random) -> str:
            made = self._made.get(name)
            if made is None:
                made = self._made[name] = self.fitting(self._schemas[name])
            return made(rng)

        return make

    def _one_of(self, makers: list[Make]) -> Make:
        return lambda rng: rng.choice(makers)(rng)

    def _array(self, item: Make) -> Make:
        def make(rng: Random) -> str:
            chance = rng.random()
            size = rng.randrange(4) if chance < 0.98 else rng.choice((101, 1001, 3000))
            if size > 100:
                return f"[{','.join([item(rng)] * size)}]"
            return f"[{','.join([item(rng) for _ in range(size)])}]"

        return make

    def _object(self, schema: Mapping[str, Any]) -> Make:
        required = set(schema.get("required", ()))
        declared = [
            (json.dumps(name), self.fitting(one), name in required)
            for name, one in schema.get("properties", {}).items()
        ]
        open_ended = not declared

        def make(rng: Random) -> str:
            members = [
                f"{name}:{value(rng)}" for name, value, needed in declared if needed or rng.random() < 0.6
            ]
            if open_ended:
                members = [f"{self.text(rng)}:{self.number(rng)}" for _ in range(rng.randrange(4))]
                members.append('"total":1')
            if rng.random() < 0.12:
                self._spoil(rng, members)
            return f"{{{','.join(members)}}}"

        return make

    def _spoil(self, rng: Random, members: list[str]) -> None:
        """Take a member out, put another value in its place, name it twice, or add what nobody declared."""
        chance = rng.random()
        if members and chance < 0.7:
            place = rng.randrange(len(members))
            name = members[place].partition(":")[0]
            if chance < 0.2:
                del members[place]
            elif chance < 0.6:
                members[place] = f"{name}:{self.junk(rng)}"
            else:
                members.append(f"{name}:{self.junk(rng)}")
        else:
            members.append(f"{self.text(rng)}:{self.junk(rng)}")


def unstorable(data: bytes) -> bool:
    """Whether an input holds what PostgreSQL cannot store, which the contract answers as a failure."""
    return b"%00" in data or b"\\u0000" in data or b"\0" in data or ENDLESS.encode() in data


def mutated(rng: Random, data: bytes) -> bytes:
    """The bytes with something wrong: some changed, left out, doubled, put in, or cut off."""
    for _ in range(rng.randrange(1, 4)):
        size = len(data)
        start = rng.randrange(size + 1)
        end = min(size, start + rng.choice((1, 1, 2, 5, 40)))
        chance = rng.random()
        if chance < 0.3:
            data = data[:start] + rng.randbytes(end - start) + data[end:]
        elif chance < 0.5:
            data = data[:start] + data[end:]
        elif chance < 0.7:
            data = data[:end] + data[start:end] * rng.choice((1, 1, 50)) + data[end:]
        elif chance < 0.9:
            data = data[:start] + rng.choice(_PIECES) + data[start:]
        else:
            data = data[:start]
    return data


_PIECES = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b":",
        b" ",
        b"\t",
        b"\r\n ",
        b"\xff",
        b"\x1e",
        b"%",
        b"/",
        b"//",
        b"..",
        b"?",
    ),
    *(
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Upgrade: h2c\r\n",
    ),
    *(
        b"Connection: close\r\n",
        b"HTTP/1.0",
        b"9" * 30,
        b"-1",
        b"4",
        b"42",
        b"451-",
        b'["ping"]',
        b"\x81\xfe",
    ),
)

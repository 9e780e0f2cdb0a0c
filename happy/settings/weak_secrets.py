"""Master secrets that anybody could guess from an example.

A secret is weak when nothing in it is of its owner: words that examples and instructions are written in,
numbers that count, the same again and again, or too little to be a secret at all. What a generator made, or a
person thought of, has something else in it.
"""

from __future__ import annotations

import re

WEAK = "must not be one that can be guessed, such as an example's; set another, or allow-weak-secret"

LEAST = 6
"""Characters below which whoever has one token can try them all within hours."""

_LIST = """
a account admin all an and any app api at auth base be been before bytes c cafebabe change changed
changeit changeme char character characters chars choose cli client code command compose config
configure copy create crypto database db deadbeef default demo dev devel develop developer development
do docker dont dummy edit enter env environment example examples fallback false fill for foo foobar from
gen generate generated get git github go good handy happy has have head here hex hi hello host how http
https i id if in init insecure insert into is it its jwt keep key keys last least length let letmein
local localdev localhost long longer make master me min minimum more must my name never new no node none
not null of on one only openssl or our out output own pass passphrase password passwd paste pbkdf per
phrase placeholder please prod production provide put qwerty qwertyuiop rand random randombytes randomly
real replace replaced replaceme replacement required root run safe same sample secret secrets secure
securely security seed self server service set setting sha shared should signing slopus so some
something staging store string strong such super supersecret supersecretkey sync temp temporary test
tested tester testing text than that the then there this time to todo token top topsecret true tr try
unguessable unique unsafe up update urandom us use used user uuid value very we what when will with word
words write x xx xxx xxxx you your yours yourself
"""
"""What examples, instructions and lines that make a secret, pasted unrun, consist of."""

_WORDS = frozenset(_LIST.split())

_COUNTING = "0123456789" * 13, "0123456789abcdef" * 8, "abcdefghijklmnopqrstuvwxyz" * 5
_SIZES = re.compile(r"8|12|16|20|24|32|48|64|100|128|256|512|(19|20)\d\d")
"""Numbers of bits, bytes and characters, and years."""


def is_weak(secret: str) -> bool:
    """Whether anybody could guess the secret."""
    plain = secret.strip().lower()
    if len(plain) < LEAST or _repeats(plain):
        return True
    if re.fullmatch("[0-9a-f-]+", plain):  # what a generator made, in which any short word may turn up
        return False
    return all(map(_says_nothing, re.findall(r"[^\W\d_]+|\d+", plain)))


def _repeats(text: str) -> bool:
    """Whether it is a short piece again and again, or one that counts or is a word."""
    piece = text[: (text * 2).find(text, 1)]
    return len(piece) <= 4 or piece in _WORDS or _counts(piece)


def _says_nothing(part: str) -> bool:
    """Whether a word or a number is one of examples."""
    if part.isdigit():
        return bool(_SIZES.fullmatch(part)) or len(set(part)) == 1 or (len(part) > 1 and _counts(part))
    return part in _WORDS or (len(part) > 2 and _counts(part)) or _is_run_together(part)


def _counts(part: str) -> bool:
    """Whether it is a part of a row that everybody knows, forwards or backwards."""
    return any(part in row or part in row[::-1] for row in _COUNTING)


def _is_run_together(part: str) -> bool:
    """Whether words of two letters and more follow one another without anything between them."""
    ends = [True] + [False] * len(part)
    for end in range(2, len(part) + 1):
        ends[end] = any(
            ends[start] and part[start:end] in _WORDS for start in range(max(0, end - 16), end - 1)
        )
    return ends[-1]

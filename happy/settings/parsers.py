"""The kinds of value that a setting may have.

Each reads a text and raises ValueError saying what the text must do, to follow the word "must".
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit


def text(value: str) -> str:
    """Any text but the empty one."""
    if not value:
        raise ValueError("not be empty")
    if "\0" in value:
        raise ValueError("not contain a NUL character")
    return value


def path(value: str) -> Path:
    """A path; ``~`` stands for the home directory."""
    try:
        return Path(text(value)).expanduser()
    except RuntimeError:
        raise ValueError("name somebody with a home directory after the ~") from None


def boolean(value: str) -> bool:
    """``true`` or ``false``, also as 1/0, yes/no, on/off."""
    word = value.strip().lower()
    if word in {"true", "1", "yes", "on"}:
        return True
    if word in {"false", "0", "no", "off"}:
        return False
    raise ValueError("be true or false")


def integer(low: int, high: int) -> Callable[[str], int]:
    """A whole number within bounds."""

    def parse(value: str) -> int:
        if re.fullmatch(r"\s*[0-9]{1,18}\s*", value) and low <= int(value) <= high:
            return int(value)
        raise ValueError(f"be a whole number from {low} to {high}")

    return parse


_UNITS = {
    "": 1,
    "k": 10**3,
    "m": 10**6,
    "g": 10**9,
    "t": 10**12,
    "ki": 2**10,
    "mi": 2**20,
    "gi": 2**30,
    "ti": 2**40,
}


def size(low: int, high: int) -> Callable[[str], int]:
    """A number of bytes within bounds, with or without a unit: ``5GB``, ``512 MiB``."""

    def parse(value: str) -> int:
        found = re.fullmatch(r"\s*([0-9]{1,18})\s*((?:[kmgt]i?)?)b?\s*", value, re.IGNORECASE)
        if found and low <= (given := int(found[1]) * _UNITS[found[2].lower()]) <= high:
            return given
        raise ValueError(f"be a number of bytes from {low} to {high}, such as 512MiB")

    return parse


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def network(value: str) -> Network:
    """Addresses in a row: ``10.0.0.0/8``, or a single one."""
    try:
        return ipaddress.ip_network(value.strip())
    except ValueError:
        raise ValueError("be a network such as 10.0.0.0/8, or an address") from None


def seconds(low: float, high: float) -> Callable[[str], float]:
    """A time in seconds, with or without a fraction, within bounds."""

    def parse(value: str) -> float:
        if re.fullmatch(r"\s*[0-9]{1,9}(\.[0-9]{1,9})?\s*", value) and low <= float(value) <= high:
            return float(value)
        raise ValueError(f"be a number of seconds from {low:g} to {high:g}")

    return parse


def choice(*words: str) -> Callable[[str], str]:
    """One of some words."""

    def parse(value: str) -> str:
        if value not in words:
            raise ValueError("be " + " or ".join(words))
        return value

    return parse


def url(*schemes: str) -> Callable[[str], str]:
    """An absolute URL of one of the schemes."""

    def parse(value: str) -> str:
        try:
            parts = urlsplit(value)
            usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or re.search(r"\s", value):
            raise ValueError("be a URL that begins with " + " or ".join(f"{scheme}://" for scheme in schemes))
        return value

    return parse


def database_url(value: str) -> str:
    """A URL of PostgreSQL; :func:`happy.storage.dsn.parse_target` reads what follows its scheme."""
    if not re.match(r"postgres(ql)?://", value) or "\0" in value:
        raise ValueError("be a URL that begins with postgresql:// or postgres://")
    return value


def redis_url(value: str) -> str:
    """A URL of Redis; :func:`happy.cluster.redis_url.parse_redis` reads what follows its scheme."""
    if not re.match(r"(rediss?|unix)://\S*$", value):
        raise ValueError("be a URL that begins with redis:// or rediss:// or unix://")
    return value


def web_url(value: str) -> str:
    """An HTTP address; a slash at its end is dropped."""
    return url("http", "https")(value).rstrip("/")


def base_url(value: str) -> str:
    """An HTTP address that paths can be appended to."""
    if re.search(r"[?#]", value):
        raise ValueError("be a URL without ? and #, since paths are appended to it")
    return web_url(value)


def host(value: str) -> str:
    """An IP address, with or without brackets, or a host name."""
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        if re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?", value) and not re.fullmatch(
            r"[0-9.]+", value
        ):
            return value
        raise ValueError("be an IP address or a host name") from None


def db_provider(value: str) -> str:
    """``postgres`` or ``pglite``, in any case; the first has a longer name, too."""
    return choice("postgres", "pglite")(value.lower().replace("postgresql", "postgres"))


def json_object(value: str) -> str:
    """The text of a JSON object."""
    try:
        if isinstance(json.loads(value), dict):
            return value
    except (ValueError, RecursionError):
        pass
    raise ValueError("be a JSON object")


def label(value: str) -> str:
    """A short name that may stand in other names."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", value):
        return value
    raise ValueError("have up to 32 letters, digits, hyphens and underscores")


def workers(value: str) -> int:
    """A number of processes, or ``auto`` for that of the cores this one may use."""
    if value.strip().lower() != "auto":
        return integer(1, 64)(value)
    usable = getattr(os, "sched_getaffinity", None)
    return min(len(usable(0)) if usable is not None else os.cpu_count() or 1, 64)

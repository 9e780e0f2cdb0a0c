"""Addresses of a Redis as operators write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from happy.cluster.redis_url import RedisTarget, parse_redis


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://cache", RedisTarget(host="cache")),
        ("redis://:p%40ss@cache:7000/2", RedisTarget(host="cache", port=7000, password="p@ss", database=2)),
        ("redis://:a#b@cache:7000", RedisTarget(host="cache", port=7000, password="a#b")),
        ("redis://a:1#/?@b@cache/2", RedisTarget(host="cache", user="a", password="1#/?@b", database=2)),
        ("redis://user:word@[::1]/", RedisTarget(host="::1", user="user", password="word")),
        ("redis://cache?db=4&family=6", RedisTarget(host="cache", database=4)),
        (
            "rediss://cache?ssl_ca_certs=/etc/ca.pem",
            RedisTarget(host="cache", tls=True, authorities=Path("/etc/ca.pem")),
        ),
        ("unix:///run/redis.sock?db=1", RedisTarget(path="/run/redis.sock", database=1)),
        (
            "unix://user:word@/run/redis.sock",
            RedisTarget(path="/run/redis.sock", user="user", password="word"),
        ),
    ],
)
def test_read(url: str, target: RedisTarget) -> None:
    """Each part is found, and what has no meaning here is left alone."""
    assert parse_redis(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cache:6379",
        "http://cache",
        "redis://",
        "redis://cache:port",
        "redis://cache:0",
        "redis://cache/queue",
        "redis://cache/-1",
        "unix://relative/path",
        "unix://",
        "redis://[::1",
        f"unix:///{104 * 'p'}",
    ],
)
def test_refused(url: str) -> None:
    """What is no address is refused, without being repeated."""
    with pytest.raises(ValueError, match="^(be a URL such as|have a database)") as refused:
        parse_redis(f"{url}?secret" if url else url)
    assert "secret" not in str(refused.value)


def test_printed_without_secrets() -> None:
    """What is written into a log holds no password."""
    target = parse_redis("rediss://user:word@[::1]:7000/2")
    assert str(target) == "rediss://[::1]:7000"
    assert "word" not in repr(target)

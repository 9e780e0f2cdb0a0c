"""The placeholder format, checked with the contract's vectors (http.md 8)."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from happy.outbound.thumbhash import thumbhash


def noise(width: int, height: int, alpha: bool) -> bytes:
    """The contract's generated picture."""
    state = 12345
    picture = bytearray()
    for place in range(4 * width * height):
        if place % 4 == 3 and not alpha:
            picture.append(255)
            continue
        state = (state * 1664525 + 1013904223) % 2**32
        picture.append(state >> 24)
    return bytes(picture)


@pytest.mark.parametrize(
    ("width", "height", "alpha", "expected"),
    [
        (100, 67, False, "3wcCBYAIV6yZnHWIl0Z6a7Wgcrif"),
        (60, 100, True, "3weCAwAIiJh5BKqz9AV81fMleFhL9lU="),
        (100, 100, False, "3wcCBwAJie96d4GZnXaKWljFTg45pPkM"),
        (3, 2, False, "oHZCbZ53iAh3h4iHiIiIgAZcuAZ2"),
    ],
)
def test_vectors(width: int, height: int, alpha: bool, expected: str) -> None:
    """The contract's pictures have the contract's hashes."""
    assert b64encode(thumbhash(width, height, noise(width, height, alpha))).decode() == expected


@pytest.mark.parametrize(
    ("width", "height", "size"), [(0, 0, 0), (0, 5, 0), (101, 1, 404), (1, 101, 404), (2, 2, 15), (2, 2, 17)]
)
def test_measures_are_checked(width: int, height: int, size: int) -> None:
    """Data of another size than announced, and pictures too large for the format, are refused."""
    with pytest.raises(ValueError, match="do not fit"):
        thumbhash(width, height, bytes(size))


@given(st.integers(1, 6), st.integers(1, 6), st.data())
def test_any_picture_has_a_hash(width: int, height: int, data: st.DataObject) -> None:
    """Every picture, also a blank or an invisible one, has a hash of 5 to 40 bytes that says its alpha."""
    flat = st.builds(lambda pixel: pixel * (width * height), st.binary(min_size=4, max_size=4))
    size = 4 * width * height
    rgba = data.draw(st.one_of(flat, st.binary(min_size=size, max_size=size)))
    result = thumbhash(width, height, rgba)
    assert 5 <= len(result) <= 40
    assert (result[2] >> 7 == 0) == (set(rgba[3::4]) == {255})

"""The public ThumbHash format: a picture's blurry placeholder in about 25 bytes (http.md 8).

Colours become luminance and two colour differences, each described by its mean and the lowest terms of
its two-dimensional cosine transform. Pictures that are not opaque have a fourth channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import cos, floor, pi
from operator import mul
from typing import NamedTuple

LARGEST = 100
"""Longest side in pixels; the format is made from a picture scaled down to it."""


class _Channel(NamedTuple):
    """A channel's mean, its other terms relative to the largest (0..1, 0.5 is zero), and that one."""

    mean: float
    terms: list[float]
    scale: float


def thumbhash(width: int, height: int, rgba: bytes) -> bytes:
    """The hash of a picture given as rows of R, G, B, A bytes. Pure and slow: about 10 ms of CPU.

    Raises ValueError for a picture without pixels, over 100 pixels a side, or of another size than its data.
    """
    if not (0 < width <= LARGEST and 0 < height <= LARGEST and len(rgba) == 4 * width * height):
        raise ValueError("the picture's measures do not fit")
    opaque = min(rgba[3::4]) == 255
    columns, rows = _luminance_terms(width, height, 7 if opaque else 5)
    luminance, yellow, red, alpha = _channels(rgba)
    measured = [
        _transform(luminance, width, height, max(3, columns), max(3, rows)),
        _transform(yellow, width, height, 3, 3),
        _transform(red, width, height, 3, 3),
    ]
    landscape = width > height
    shorter = rows if landscape else columns
    head = _head(measured, opaque, shorter, landscape)
    if not opaque:
        measured.append(_transform(alpha, width, height, 5, 5))
        head += bytes([_scaled(measured[3].mean, 15) | _scaled(measured[3].scale, 15) << 4])
    return head + _packed(_scaled(term, 15) for channel in measured for term in channel.terms)


def _luminance_terms(width: int, height: int, limit: int) -> tuple[int, int]:
    """How many terms luminance has per direction, in proportion to the sides."""
    longer = max(width, height)
    return max(1, _half_up(limit * width / longer)), max(1, _half_up(limit * height / longer))


def _channels(rgba: bytes) -> tuple[list[float], list[float], list[float], list[float]]:
    """Luminance, yellow against blue, red against green, and alpha; seen over the average colour."""
    alpha = [value / 255 for value in rgba[3::4]]
    covered = sum(alpha)
    planes = []
    for first in range(3):
        plane = [value / 255 for value in rgba[first::4]]
        average = sum(map(mul, plane, alpha)) / covered if covered else 0.0
        planes.append([average * (1 - a) + a * value for value, a in zip(plane, alpha, strict=True)])
    red, green, blue = planes
    return (
        [(r + g + b) / 3 for r, g, b in zip(red, green, blue, strict=True)],
        [(r + g) / 2 - b for r, g, b in zip(red, green, blue, strict=True)],
        [r - g for r, g in zip(red, green, strict=True)],
        alpha,
    )


def _transform(plane: Sequence[float], width: int, height: int, columns: int, rows: int) -> _Channel:
    """The terms in the triangle below the diagonal from (``columns``, 0) to (0, ``rows``).

    Rows are transformed first and once, since the cosines of both directions are independent.
    """
    lines = [plane[start : start + width] for start in range(0, width * height, width)]
    across = [[sum(map(mul, line, wave)) for line in lines] for wave in _waves(columns, width)]
    terms = [
        sum(map(mul, across[column], wave)) / (width * height)
        for row, wave in enumerate(_waves(rows, height))
        for column in range(columns)
        if column * rows < columns * (rows - row)
    ]
    mean, *others = terms
    scale = max(map(abs, others))
    if scale:
        others = [0.5 + 0.5 / scale * term for term in others]
    return _Channel(mean, others, scale)


def _waves(count: int, length: int) -> Iterator[list[float]]:
    """Cosines of 0 to ``count`` - 1 half periods over ``length`` pixels, taken at their centres."""
    for halves in range(count):
        yield [cos(pi / length * halves * (place + 0.5)) for place in range(length)]


def _head(measured: Sequence[_Channel], opaque: bool, shorter: int, landscape: bool) -> bytes:
    """24 bits of means and 16 bits of scales, little-endian."""
    luminance, yellow, red = measured
    means = (
        _scaled(luminance.mean, 63)
        | _half_up(31.5 + 31.5 * yellow.mean) << 6
        | _half_up(31.5 + 31.5 * red.mean) << 12
        | _scaled(luminance.scale, 31) << 18
        | (not opaque) << 23
    )
    scales = shorter | _scaled(yellow.scale, 63) << 3 | _scaled(red.scale, 63) << 9 | landscape << 15
    return means.to_bytes(3, "little") + scales.to_bytes(2, "little")


def _packed(nibbles: Iterator[int]) -> bytes:
    """Two values of four bits a byte, the first one in the low half."""
    return bytes(low | next(nibbles, 0) << 4 for low in nibbles)


def _scaled(part: float, whole: int) -> int:
    return _half_up(whole * part)


def _half_up(value: float) -> int:
    return floor(value + 0.5)

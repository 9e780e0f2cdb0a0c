"""Line plots as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 10, 30
_TINY = 1e-9
COLOURS = 6
"""Classes ``c0`` to ``c5`` of the style sheet; further lines begin again."""


def ticks(most: float, count: int = 4) -> list[float]:
    """Round numbers from 0 to at least ``most``, about ``count`` steps of 1, 2 or 5 times a power of ten."""
    if not most > _TINY:
        return [0.0, 1.0]
    rough = most / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [step * number for number in range(math.ceil(most / step * 0.999) + 1)]


def plot(lines: Mapping[str, Points], unit: str, x_unit: str = "s") -> str:
    """A plot of named lines over a common time axis that begins at 0."""
    across = ticks(max((x for points in lines.values() for x, _ in points), default=0), 8)
    up = ticks(max((y for points in lines.values() for _, y in points), default=0))
    frame = _Frame(across[-1], up[-1])
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(", ".join(lines))}">',
        *(frame.level(y, f"{_number(y)} {unit}" if y == up[-1] else _number(y)) for y in up),
        *(frame.moment(x, f"{_number(x)} {x_unit}" if x == across[-1] else _number(x)) for x in across),
        *(frame.line(points, number) for number, points in enumerate(lines.values())),
        "</svg>",
    ]
    return "".join(parts) + legend(list(lines))


def legend(names: Sequence[str]) -> str:
    """What the colours mean."""
    items = (f'<li class="c{_colour(number)}">{escape(name)}</li>' for number, name in enumerate(names))
    return f'<ul class="legend">{"".join(items)}</ul>'


def _colour(number: int) -> int:
    return number % COLOURS


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


class _Frame:
    """Where values are in the picture."""

    def __init__(self, across: float, up: float) -> None:
        self._x = (_WIDTH - _LEFT - _RIGHT) / across
        self._y = (_HEIGHT - _TOP - _BOTTOM) / up

    def _place(self, x: float, y: float) -> tuple[str, str]:
        return f"{_LEFT + x * self._x:.1f}", f"{_HEIGHT - _BOTTOM - y * self._y:.1f}"

    def level(self, y: float, text: str) -> str:
        """A line across, with its label at the left."""
        _, height = self._place(0, y)
        line = f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height}" y2="{height}"/>'
        return f'{line}<text x="{_LEFT - 6}" y="{height}" dy="4" class="left">{escape(text)}</text>'

    def moment(self, x: float, text: str) -> str:
        """A label below."""
        place, _ = self._place(x, 0)
        return f'<text x="{place}" y="{_HEIGHT - 10}" class="below">{escape(text)}</text>'

    def line(self, points: Points, number: int) -> str:
        """One line; a single point is drawn as a dot."""
        places = " ".join(",".join(self._place(x, y)) for x, y in points)
        dot = "".join(
            '<circle cx="{}" cy="{}" r="2.5"/>'.format(*self._place(x, y))
            for x, y in points
            if len(points) == 1
        )
        return f'<g class="c{_colour(number)}"><polyline points="{places}"/>{dot}</g>'

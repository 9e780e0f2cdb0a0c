"""What a soak is judged by, and how it is drawn."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tests.soak.drawing import curve, sheet
from tests.soak.samples import Sample, drift


def samples(memory: list[float]) -> list[Sample]:
    """One each minute."""
    return [Sample(60.0 * minute, one, 50.0, 1.0, 100.0, 130, 4.0, None) for minute, one in enumerate(memory)]


@pytest.mark.parametrize(
    ("memory", "small"),
    [
        ([50, *[100] * 60], True),
        ([50, *[100] * 30, *[104] * 30], True),
        ([50, *[100] * 30, *[106] * 30], False),
        ([100 + minute for minute in range(61)], False),
        ([*[200] * 9, *[100] * 52], True),
    ],
)
def test_drift(memory: list[float], small: bool) -> None:
    """The end is compared with what was after the beginning, and one look more or less is no matter."""
    assert drift(samples(memory), 600, 300).small is small
    spike = samples(memory)
    spike[-2] = Sample(spike[-2].second, 999.0, 50.0, 1.0, 100.0, 130, 4.0, None)
    assert drift(spike, 600, 300).small is small


def test_drawing() -> None:
    """The curve is an SVG file of its own, and the page has every curve."""
    looked = samples([90.0, 100.0, 101.0])
    root = ElementTree.fromstring(curve(looked))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(root.findall(".//{http://www.w3.org/2000/svg}polyline")) == 2
    assert sheet(looked, ["all <well>"]).count("<svg ") == 4
    assert "all &lt;well&gt;" in sheet(looked, ["all <well>"])

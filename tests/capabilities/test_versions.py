"""Advice on versions: the rule itself, and the answer."""

from __future__ import annotations

from dataclasses import replace

import pytest

from happy.capabilities.versions import supported
from tests.capabilities.asking import CapabilityCase

ANDROID = "https://play.google.com/store/apps/details?id=com.ex3ndr.happy"


@pytest.mark.parametrize(
    "version", ["1.4.1", "1.10.0", "2.0.0", " 1.5.0 ", "v1.5.0", "1.5.0+build.7", "9007199254740991.0.0"]
)
def test_supported(version: str) -> None:
    """Releases from 1.4.1 on will do, however they are decorated."""
    assert supported(version)


@pytest.mark.parametrize(
    "version",
    [
        "1.4.0",
        "0.99.99",
        "1.5.0-beta.1",
        "1.4",
        "",
        "garbage",
        "1.5.0.1",
        "01.5.0",
        "1.5.0+",
        "V1.5.0",
        "\u0661.5.0",
        "9007199254740992.0.0",
        "1.5.0+" + "b" * 251,
    ],
)
def test_unsupported(version: str) -> None:
    """Older releases, pre-releases and what is no full version will not."""
    assert not supported(version)


class VersionTests(CapabilityCase):
    """POST /v1/version."""

    async def test_answers(self) -> None:
        """The store of the platform, in any case; null for a new version and for other platforms."""
        for platform, version, url in [
            ("ANDROID", "1.0.0", ANDROID),
            ("android", "9.0.0", None),
            ("web", "1.0.0", None),
        ]:
            body = {"platform": platform, "version": version, "app_id": "x"}
            self.assertEqual((await self.ask("POST", "/v1/version", body)).json, {"updateUrl": url})

    async def test_prompt_switched_on(self) -> None:
        """The names that shipped apps read are added when the operator wants the prompt (D11)."""
        self.change(config=replace(self.config, update_prompt=True))
        body = {"platform": "android", "version": "1.0.0", "app_id": "x"}
        expected = {"updateUrl": ANDROID, "update_required": True, "update_url": ANDROID}
        self.assertEqual((await self.ask("POST", "/v1/version", body)).json, expected)
        body["version"] = "2.0.0"
        expected = {"updateUrl": None, "update_required": False, "update_url": None}
        self.assertEqual((await self.ask("POST", "/v1/version", body)).json, expected)

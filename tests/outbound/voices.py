"""A provider of voices whose third parties are a stand-in."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet import reactor

from happy.base.clocks import Now
from happy.metrics import Metrics
from happy.outbound.http import Outgoing
from happy.outbound.voice import VoiceProvider
from tests.outbound.standin import StandIn


def voice_provider(standin: StandIn, now: Now, **options: Any) -> VoiceProvider:
    """It knows both of them at the stand-in's address; ``options`` are further or other arguments."""
    metrics = Metrics(CollectorRegistry())
    arguments: dict[str, Any] = {
        "user_secret": "test-secret",
        "elevenlabs_key": "xi",
        "revenuecat_key": "rc",
        "elevenlabs": standin.url,
        "revenuecat": standin.url,
    }
    return VoiceProvider(
        Outgoing("elevenlabs", reactor, metrics),
        Outgoing("revenuecat", reactor, metrics),
        now,
        **(arguments | options),
    )

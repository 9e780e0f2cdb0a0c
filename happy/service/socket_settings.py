"""How the realtime endpoint is set up in a server of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from happy.realtime.parameters import endpoint_settings

if TYPE_CHECKING:
    from happy.base.pace import Pace
    from happy.capabilities.server import Server
    from happy.socketio.shared import EndpointSettings


def origin(channel: Any) -> str:
    """Who pays for a socket before its login."""
    return str(channel.keep.owner)


def socket_settings(server: Server, pace: Pace, **others: Any) -> EndpointSettings:
    """The endpoint's settings, as the configuration has them."""
    config, metrics = server.config, server.metrics

    def dropped(reason: str) -> None:
        metrics.happy_slow_readers_total.labels(reason).inc()
        server.events.slow_reader_cut(reason)

    return endpoint_settings(
        ping_interval=config.ping_interval,
        ping_timeout=config.ping_timeout,
        upgrade_timeout=config.upgrade_timeout,
        connect_timeout=config.connect_timeout,
        max_payload=config.max_payload,
        max_queued_bytes=config.max_queued,
        memory=server.memory,
        pace=pace,
        dropped=dropped,
        failed=metrics.happy_client_faults_total.inc,
        fast_frames=config.shortcuts,
        **others,
    )

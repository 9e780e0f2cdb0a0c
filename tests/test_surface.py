"""The wire surface: a change of any route or event shows up in ``surface.txt``."""

from __future__ import annotations

from pathlib import Path

from happy.api.declare import Event, Route
from happy.capabilities import CAPABILITIES
from happy.web.routes import RouteTable

SURFACE = Path(__file__).with_name("surface.txt")


def _route(route: Route) -> str:
    access = "open" if route.public else "signed or bearer" if route.proof else "bearer"
    return f"{route.method:6} {route.path}  [{access}, {route.limit // 1024} KiB]"


def _event(event: Event) -> str:
    manners = ["acknowledged" if event.acks else "unanswered", *["serial"] * event.serial]
    return f"EVENT  {event.name}  [{', '.join(manners)}]"


def surface() -> str:
    """Every declared route and event, one a line, in a stable order."""
    routes = sorted(_route(route) for capability in CAPABILITIES for route in capability.routes)
    events = sorted(_event(event) for capability in CAPABILITIES for event in capability.events)
    return "\n".join([*routes, *events, ""])


def test_surface() -> None:
    """What is declared is exactly what the recorded surface lists."""
    assert surface() == SURFACE.read_text()


def test_routes_are_distinct() -> None:
    """No two endpoints claim the same path, also where one group stands in for another."""
    RouteTable(route for capability in CAPABILITIES for route in capability.routes)


def test_events_are_distinct() -> None:
    """No two events have one name."""
    names = [event.name for capability in CAPABILITIES for event in capability.events]
    assert len(names) == len(set(names))


def test_every_capability_has_a_name_of_its_own() -> None:
    """Capabilities are told apart by name."""
    names = [capability.name for capability in CAPABILITIES]
    assert len(names) == len(set(names))


def test_acknowledged_events_are_always_answered() -> None:
    """An event that is acknowledged and takes data says what it answers to wrong data and to errors (D-5)."""
    silent = {
        event.name
        for capability in CAPABILITIES
        for event in capability.events
        if event.acks and "body" in event.parameters and (event.invalid is None or event.failure is None)
    }
    assert not silent

"""The running server offers its contract, as it is set up."""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.internet.defer import ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from happy.capabilities import CAPABILITIES
from happy.service.documents import Documents
from happy.settings.config import Config
from tests.toys import ToyThreads, toy_server
from tests.web.talking import Served

FOLDER = "/.well-known/happy"


def serve(config: Config) -> tuple[Served, Documents]:
    enabled = [group for group in CAPABILITIES if group.enabled(config)]
    documents = Documents(enabled, ToyThreads().run)
    return Served(toy_server(config, documents=documents), enabled), documents


@pytest.mark.parametrize("webapp", [False, True])
def test_served(tmp_path: Path, webapp: bool) -> None:
    """Both documents are there for everybody, also where a web app takes all other paths."""
    (tmp_path / "index.html").write_text("<html></html>")
    served, documents = serve(Config(webapp=tmp_path if webapp else None))
    for name in ("openapi", "asyncapi"):
        reply = served.ask("GET", f"{FOLDER}/{name}.json")
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json; charset=utf-8")
        assert reply.headers["access-control-allow-origin"] == "*"
        assert reply.body == SynchronousTestCase().successResultOf(ensureDeferred(getattr(documents, name)()))


def test_tells_what_is_switched_on() -> None:
    """An endpoint that the operator left off is not offered."""
    path = "/logs-combined-from-cli-and-mobile-for-simple-ai-debugging"
    for switched_on in (False, True):
        served, _ = serve(Config(debug_log=switched_on))
        assert (path in served.ask("GET", f"{FOLDER}/openapi.json").json["paths"]) is switched_on

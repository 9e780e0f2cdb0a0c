"""A web app beside the API (http.md 10; D18, D30, D40)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from happy.api.declare import Capability
from happy.settings.config import Config
from tests.toys import toy_server
from tests.web.talking import Reply, Served

BANNER = b"Welcome to Happy Server!"
INDEX = b"<!doctype html><html><HEAD lang=en><title>App</title></HEAD><body></body></html>\n"

api = Capability("api")


@api.get("/v1/toys/:id", public=True)
async def look(id: str) -> str:
    """An endpoint."""
    return id


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_bytes(INDEX)
    (tmp_path / "app.js").write_text("run()")
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "a b.css").write_text("p {}")
    (tmp_path / ".env").write_text("secret")
    (tmp_path / "assets" / ".env").write_text("secret")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config.txt").write_text("secret")
    (tmp_path.parent / "outside.txt").write_text("secret")
    (tmp_path / "link.txt").symlink_to(tmp_path.parent / "outside.txt")
    (tmp_path / "loop.txt").symlink_to(tmp_path / "loop.txt")
    return tmp_path


def serve(folder: Path, config: str | None = '{"serverUrl":"https://s.example"}') -> Served:
    return Served(toy_server(Config(webapp=folder, webapp_config=config)), [api])


@pytest.fixture
def served(folder: Path) -> Served:
    return serve(folder)


def test_page(served: Served) -> None:
    """The page carries its configuration right after the head tag, and the banner in a comment."""
    for path in ("/", "/index.html", "/?a=b"):
        reply = served.ask("GET", path)
        assert reply.status == 200
        assert reply.headers["content-type"] == "text/html; charset=utf-8"
        assert reply.headers["cache-control"] == "public, max-age=0"
        script = b'\n<script>window.__HAPPY_CONFIG__ = {"serverUrl":"https://s.example"};</script><title>'
        assert b"<HEAD lang=en>" + script in reply.body
        assert BANNER in reply.body


def test_banner(served: Served) -> None:
    """A client that takes no HTML gets the banner, so that the app recognises the server."""
    for accept in ("text/plain", "application/json"):
        reply = served.ask("GET", "/", accept=accept)
        assert (reply.body, reply.headers["content-type"]) == (BANNER, "text/plain; charset=utf-8")
    for accept in ("*/*", "text/html,application/xhtml+xml", ""):
        assert served.ask("GET", "/", accept=accept).body != BANNER


def test_configuration_cannot_break_out(folder: Path) -> None:
    """Whatever the configuration holds, it stays inside of its script."""
    reply = serve(folder, '{"a":"</script><script>evil()"}').ask("GET", "/")
    assert b"</script><script>evil()" not in reply.body
    assert rb"\u003c/script>\u003cscript>evil()" in reply.body


def test_own_address(folder: Path) -> None:
    """Without a configuration the app asks the server it came from, wherever a request says that is."""
    own = b'= {"serverUrl":window.location.origin,"disableAnalytics":true};</script>'
    evil = {"x_forwarded_proto": "https", "x_forwarded_host": "evil.example", "host": "also.evil.example"}
    for path in ("/", "/index.html", "/settings"):
        one, two = (serve(folder, None).ask("GET", path, **said) for said in ({}, evil))
        assert own in one.body
        assert (one.body, one.headers["etag"]) == (two.body, two.headers["etag"])


def test_public_address(folder: Path) -> None:
    """The app asks the address that the server is configured to have."""
    config = Config(webapp=folder, public_url="https://h.example")
    reply = Served(toy_server(config), []).ask("GET", "/")
    assert b'{"serverUrl":"https://h.example","disableAnalytics":true}' in reply.body


def test_no_head_tag(folder: Path) -> None:
    """A page without a head is served as it is."""
    (folder / "index.html").write_bytes(b"<p>hello</p>")
    reply = serve(folder).ask("GET", "/")
    assert reply.body.startswith(b"<p>hello</p>")
    assert b"__HAPPY_CONFIG__" not in reply.body


def test_files(served: Served) -> None:
    """Files have the type of their extension, a version, and parts."""
    reply = served.ask("GET", "/app.js")
    assert (reply.status, reply.body) == (200, b"run()")
    assert reply.headers["content-type"].partition(";")[0] in ("text/javascript", "application/javascript")
    assert reply.headers["accept-ranges"] == "bytes"
    assert reply.headers["cache-control"] == "public, max-age=0"
    assert served.ask("GET", "/app.js", range="bytes=0-2").body == b"run"
    assert served.ask("GET", "/app.js", if_none_match=reply.headers["etag"]).status == 304
    assert served.ask("GET", "/assets/a%20b.css").body == b"p {}"
    assert served.ask("HEAD", "/app.js").headers["content-length"] == "5"


def test_new_files(served: Served, folder: Path) -> None:
    """A file that is added later is served without a restart."""
    assert served.ask("GET", "/new.js").status == 404
    (folder / "new.js").write_text("new()")
    assert served.ask("GET", "/new.js").body == b"new()"


@pytest.mark.parametrize(
    "path",
    [
        "/.env",
        "/assets/.env",
        "/.git/config.txt",
        "/assets/%2e/a%20b.css",
        "/.%2e/outside.txt",
        "/../outside.txt",
        "/%2e%2e/outside.txt",
        "/..%2foutside.txt",
        "/assets/../../outside.txt",
        "/link.txt",
        "//etc/passwd.txt",
        "/app.js%00.txt",
        "/app.js/x.txt",
        "/" + "x" * 300 + ".txt",
        "/loop.txt",
    ],
)
def test_nothing_else(served: Served, path: str) -> None:
    """Nothing hidden and nothing outside of the folder is served."""
    reply = served.ask("GET", path)
    assert b"secret" not in reply.body
    assert b"root:" not in reply.body
    assert reply.status == 404


def test_folders_with_a_dot(served: Served, folder: Path) -> None:
    """Whatever the build keeps in them is served."""
    for name in (
        "assets/__node_modules/.pnpm/icons@1/Icons.ttf",
        ".well-known/apple-app-site-association",
        ".vite/manifest.json",
    ):
        file = folder / name
        file.parent.mkdir(parents=True)
        file.write_text(name)
        assert served.ask("GET", f"/{name}").body == name.encode(), name


def test_pages_of_folders(served: Served, folder: Path) -> None:
    """A folder's own page is found with and without a slash, and told the configuration."""
    (folder / "help").mkdir()
    (folder / "help" / "index.html").write_text("<head></head>HELP")
    for path in ("/help", "/help/", "/help/index.html", "/help?a=b"):
        reply = served.ask("GET", path)
        assert page(reply) and b"HELP" in reply.body, path
    assert served.ask("GET", "/help//").status == 200
    assert b"HELP" not in served.ask("GET", "/help//").body


def page(reply: Reply) -> bool:
    return reply.status == 200 and b"__HAPPY_CONFIG__" in reply.body


def test_pages_of_the_app(served: Served) -> None:
    """A path of the app's own is its page."""
    for path in ("/settings", "/session/abc?tab=1", "/assets/", "/assets", "/terminal/connect"):
        assert page(served.ask("GET", path)), path


def test_not_pages(served: Served) -> None:
    """What looks like a missing file or endpoint is missing, without saying more."""
    for path in (
        "/missing.png",
        "/v1/x",
        "/v2/x",
        "/v2",
        "/v3",
        "/socket.io/",
        "/files/x",
        "/metrics",
        "/healthz",
    ):
        reply = served.ask("GET", path)
        assert (reply.status, reply.json) == (404, {"error": "Not found"}), path


def test_other_methods(served: Served) -> None:
    """Only GET finds pages; other methods, HEAD included, find nothing."""
    for method, path in (("POST", "/settings"), ("HEAD", "/settings"), ("PUT", "/"), ("DELETE", "/app.js")):
        reply = served.ask(method, path)
        assert reply.status == 404
        assert method == "HEAD" or reply.json == {"error": "Not found"}


def test_api(served: Served) -> None:
    """Endpoints work beside the app."""
    assert served.ask("GET", "/v1/toys/x").json == "x"


def version(served: Served, **headers: Any) -> str:
    return served.ask("GET", "/", **headers).headers["etag"]


def test_versions_of_the_page(folder: Path) -> None:
    """The page's version names its configuration, so that a changed one is not taken from a cache."""
    one, two = serve(folder), serve(folder, '{"serverUrl":"https://t.example"}')
    assert version(one) == version(one)
    assert version(one) != version(two)
    assert one.ask("GET", "/", if_none_match=version(one)).status == 304
    assert two.ask("GET", "/", if_none_match=version(one)).status == 200
    (folder / "index.html").write_bytes(INDEX + b"<!-- new -->")
    assert version(one) != version(two)
    assert one.ask("GET", "/", if_modified_since="Fri, 01 Jan 2100 00:00:00 GMT").status == 200


def test_missing_page(tmp_path: Path) -> None:
    """An empty folder serves nothing."""
    assert serve(tmp_path).ask("GET", "/").status == 404

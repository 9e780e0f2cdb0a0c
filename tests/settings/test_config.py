"""Settings: one table, three places, readable refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.endpoints import serverFromString

from happy.settings.command_line import Options
from happy.settings.config import SETTINGS, SHOWN, UNUSED, Config
from happy.settings.declaration import BadSetting, Setting
from happy.settings.endpoints import endpoint, tcp
from happy.settings.loading import load

IN_A_FILE = [one for one in SETTINGS if one.group and one.name != "config"]
SECRET = "5ecret-value-that-nobody-may-see"


def refusal(options: dict[str, list[str]] | None = None, environment: dict[str, str] | None = None) -> str:
    """The text of the refusal that these settings meet."""
    with pytest.raises(BadSetting) as caught:
        load(options or {}, environment or {})
    return str(caught.value)


def write(folder: Path, text: str) -> list[str]:
    """A configuration file, as the value of the option that names it."""
    file = folder / "happy.toml"
    file.write_text(text)
    return [str(file)]


def test_defaults() -> None:
    """Nothing given: port 3005 on all interfaces, data in ./data, metrics on the loopback."""
    config = load({}, {})
    assert config.listen == ("tcp:3005:interface=0.0.0.0",)
    assert config.data_dir == Path("data")
    assert (config.metrics_enabled, config.metrics_host, config.metrics_port) == (True, "127.0.0.1", 9090)
    assert config.database_url is None
    assert config.master_secret == ""


def test_every_field_is_a_setting() -> None:
    """The record holds nothing that an operator cannot set, but what was set in vain."""
    fields = [field.name for field in dataclasses.fields(Config)]
    assert [*(one.field for one in SETTINGS), "without_effect", "unknown"] == fields


def test_names_are_distinct() -> None:
    """No variable sets two settings."""
    variables = [variable for one in (*SETTINGS, *UNUSED) for variable in one.environment]
    assert len(set(variables)) == len(variables)


@pytest.mark.parametrize("one", IN_A_FILE, ids=lambda one: one.name)
def test_every_place_sets_every_setting(one: Setting, tmp_path: Path) -> None:
    """Option, variable and key of the file give the same value, and it is not the default."""
    sample = SAMPLES.get(one.name, one.example)
    needed = needed_by(one)
    number = isinstance(one.default, int | float) and not isinstance(one.default, bool)
    written = f"{one.name} = {sample if number else repr(sample)}\n"
    from_option = load({one.name: [sample], **needed}, {})
    from_file = load({"config": write(tmp_path, written), **needed}, {})
    values = [getattr(config, one.field) for config in (from_option, from_file)]
    values += [getattr(load(needed, {variable: sample}), one.field) for variable in one.environment]
    assert len(set(values)) == 1
    assert values[0] != one.default


SAMPLES = {
    "port": "80",
    "database-pool": "3",
    "workers": "2",
    "metrics-port": "1",
    "master-secret": SECRET,
    "ping-interval": "1.5",
    "ping-timeout": "2",
    "upgrade-timeout": "3",
    "connect-timeout": "4",
    "attachment-quota": "1000000000",
    "account-attachments": "5000000000",
    "max-payload": "5000",
    "max-queued": "70000",
    "memory": "100000000",
    "address-limit": "5",
    "login-limit": "6",
}
"""Values other than the default, where the example is the default or a description."""

S3 = {
    "s3-host": "s3",
    "s3-access-key": "a",
    "s3-secret-key": "b",
    "s3-bucket": "c",
    "s3-public-url": "http://d",
}
PARTNERS = {"s3-host": S3, "db-provider": {"database-url": "postgresql://h/d"}}
"""What else must be set, by the setting or by the one that it needs."""


def needed_by(one: Setting) -> dict[str, list[str]]:
    """Options that a setting has no effect without, or is refused without."""
    needed = PARTNERS.get(one.needs or one.name, {one.needs: EXAMPLES[one.needs]} if one.needs else {})
    return {name: [text] for name, text in needed.items() if name != one.name and text != "false"}


EXAMPLES = {one.name: one.example for one in SETTINGS}


def test_option_wins_over_variable_wins_over_file(tmp_path: Path) -> None:
    """The nearest place decides, for each setting on its own."""
    file = write(tmp_path, 'port = 1\nhost = "127.0.0.1"\nmetrics-port = 11\n')
    config = load({"port": ["3"], "config": file}, {"PORT": "2", "METRICS_PORT": "22"})
    assert (config.port, config.metrics_port, config.host) == (3, 22, "127.0.0.1")


def test_file_named_by_a_variable(tmp_path: Path) -> None:
    """HAPPY_CONFIG names the file as the option does."""
    assert load({}, {"HAPPY_CONFIG": write(tmp_path, "port = 5\n")[0]}).port == 5


def test_the_last_of_several_options_counts() -> None:
    """An option given again replaces the first one."""
    assert load({"port": ["1", "2"]}, {}).port == 2


def test_empty_variables_are_unset() -> None:
    """A variable that is set to nothing, as compose files do, leaves the default."""
    assert load({}, {"PORT": "", "S3_HOST": "", "PUBLIC_URL": ""}) == load({}, {})


def test_redirect_under_both_names() -> None:
    """The two spellings of the original's GitHub variable mean the same; the usual one goes first."""
    uri, url = "https://a.example/uri", "https://a.example/url"
    old, both = {"GITHUB_CLIENT_ID": "x", "GITHUB_REDIRECT_URI": uri}, {"GITHUB_REDIRECT_URL": url}
    assert load({}, old).github_redirect_url == uri
    assert load({}, old | both).github_redirect_url == url


def test_repeatable_settings(tmp_path: Path) -> None:
    """Options repeat, a variable separates by white space, a file has a list."""
    both = ("tcp:1", "unix:/tmp/s")
    assert load({"listen": list(both)}, {}).listen == both
    assert load({}, {"HAPPY_LISTEN": " ".join(both)}).listen == both
    assert load({"config": write(tmp_path, f"listen = {list(both)}\n")}, {}).listen == both


@pytest.mark.parametrize(
    ("variable", "text", "must"),
    [
        ("PORT", "http", "must be a whole number from 0 to 65535, for example 3005"),
        ("PORT", "65536", "must be a whole number"),
        ("PORT", "-1", "must be a whole number"),
        ("PORT", "1e3", "must be a whole number"),
        ("PORT", "٣", "must be a whole number"),
        ("HOST", "a b", "must be an IP address or a host name"),
        ("HOST", "300.1.1.1", "must be an IP address"),
        ("PUBLIC_URL", "happy.example.org", "must be a URL that begins with http:// or https://"),
        ("PUBLIC_URL", "https://[::1", "must be a URL"),
        ("PUBLIC_URL", "https://a:99999", "must be a URL"),
        ("PUBLIC_URL", "https://a/?b=c", "must be a URL without ? and #"),
        ("PUBLIC_URL", "https://a/#", "must be a URL without ? and #"),
        ("PUBLIC_URL", "https://a\udcff", "must be UTF-8 text"),
        ("HANDY_MASTER_SECRET", f"{SECRET}\udcff", "must be UTF-8 text"),
        ("METRICS_ENABLED", "maybe", "must be true or false, for example false"),
        ("HAPPY_INJECT_HTML_CONFIG", "[1]", "must be a JSON object"),
        ("HAPPY_INJECT_HTML_CONFIG", "[" * 100_000, "must be a JSON object"),
        ("HAPPY_PING_INTERVAL", "nan", "must be a number of seconds from 0.1 to 3600"),
        (
            "HAPPY_MEMORY",
            "much",
            "must be a number of bytes from 67108864 to 9007199254740992, such as 512MiB",
        ),
        ("HAPPY_MEMORY", "1KB", "must be a number of bytes from 67108864"),
        ("HAPPY_TRUSTED_PROXIES", "10.0.0.1/8", "must be a network such as 10.0.0.0/8"),
        ("DB_PROVIDER", "sqlite", "must be postgres or pglite"),
        ("TZ", "Europe/Nowhere", "must be the name of a time zone"),
        ("TZ", "/etc/passwd", "must be the name of a time zone"),
        ("HAPPY_LISTEN", "tcp:http", "must be a Twisted endpoint"),
        ("HAPPY_LISTEN", "carrier-pigeon:7", "must be a Twisted endpoint"),
        ("HAPPY_LISTEN", "tcp:3005:colour=red", "must be a Twisted endpoint"),
        ("HAPPY_LISTEN", "tcp:70000", "must have a port from 0 to 65535"),
        (
            "HAPPY_LISTEN",
            "ssl:443:privateKey=/nowhere.pem",
            "must name a certificate and its key: /nowhere.pem",
        ),
        ("HAPPY_LISTEN", "systemd:domain=INET:index=0", "must be a Twisted endpoint"),
    ],
)
def test_refusals_name_setting_origin_and_example(variable: str, text: str, must: str) -> None:
    """A wrong value is refused in one line that says what is wrong, where it came from and what is right."""
    setting = next(one for one in SETTINGS if variable in one.environment)
    told = refusal(needed_by(setting), {variable: text})
    assert told.startswith(f"{setting.name}: ")
    assert f"from the environment variable {variable} " in told
    assert must in told
    assert ", for example " in told
    assert "\n" not in told


def test_origins(tmp_path: Path) -> None:
    """An option and a file are named as origins, too."""
    assert "from the option --port must" in refusal({"port": ["x"]})
    file = write(tmp_path, "port = 70000\n")
    assert f"from the file {file[0]} must" in refusal({"config": file})


@pytest.mark.parametrize("one", [one for one in SETTINGS if one.secret], ids=lambda one: one.name)
def test_secret_values_are_never_shown(one: Setting, tmp_path: Path) -> None:
    """Neither a refusal nor the record's text shows a secret's value."""
    bad = f"{SECRET}\0"
    assert SECRET not in refusal({**needed_by(one), one.name: [bad]})
    assert SECRET not in refusal(
        {**needed_by(one), "config": write(tmp_path, f'{one.name} = [["{SECRET}"]]\n')}
    )
    config = Config(**{one.field: SECRET})
    assert SECRET not in repr(config)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("port = \n", "is not a TOML file: Invalid value (at line 1"),
        ("port = { a = 1 }\n", "port: "),
        ("port = 2026-01-01\n", "must give it as a text or a number, for example 3005"),
        ("port = true\n", "must be a whole number"),
        ("master-secret = ''\n", "must not be empty"),
    ],
)
def test_bad_files(text: str, told: str, tmp_path: Path) -> None:
    """A file that cannot be used is refused in one line with its name."""
    file = write(tmp_path, text)
    message = refusal({"config": file})
    assert told in message
    assert file[0] in message
    assert "\n" not in message


@pytest.mark.parametrize("one", UNUSED, ids=lambda one: one.name)
def test_without_effect(one: Setting, tmp_path: Path) -> None:
    """What has no effect stops nothing, whatever its value and wherever it stands, and is remembered."""
    options = Options({})
    options.parseOptions([f"--{one.name}", "x y"])
    file = write(tmp_path, f"{one.name} = {{ a = [1] }}\n")
    configs = [options.config, load({}, {one.environment[0]: "\0"}), load({"config": file}, {})]
    assert [config.without_effect for config in configs] == [(one.name,)] * 3


def test_for_diagnosis(tmp_path: Path) -> None:
    """Shortcuts are switched off by a variable alone, which nothing shows."""
    assert load({}, {}).shortcuts
    assert not load({}, {"HAPPY_SHORTCUTS": "false"}).shortcuts
    config = load({"config": write(tmp_path, "shortcuts = false\n")}, {})
    assert config.shortcuts
    assert "sets 'shortcuts', which is no setting" in config.unknown[0]
    assert not any("SHORTCUTS" in str(one) for one in SHOWN)


def test_unreadable_files(tmp_path: Path) -> None:
    """A missing file, a folder and bytes that are no text are each refused in plain words."""
    assert "cannot be read: No such file" in refusal({"config": [str(tmp_path / "none.toml")]})
    assert "cannot be read: Is a directory" in refusal({"config": [str(tmp_path)]})
    (tmp_path / "x").write_bytes(b"\xff")
    assert "it is not UTF-8" in refusal({"config": [str(tmp_path / "x")]})


def test_numbers_and_booleans_in_a_file(tmp_path: Path) -> None:
    """A file may use TOML's own types."""
    config = load({"config": write(tmp_path, "ping-interval = 2\nmetrics-enabled = false\n")}, {})
    assert (config.ping_interval, config.metrics_enabled) == (2.0, False)


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("1", True), ("On", True), ("false", False), ("0", False), ("no", False)],
)
def test_booleans(text: str, value: bool) -> None:
    """The usual words for yes and no are understood."""
    assert load({}, {"METRICS_ENABLED": text}).metrics_enabled is value


@pytest.mark.parametrize(
    "secret", ["test", "CHANGEME", " secret\n", "your-super-secret-key-for-local-development"]
)
def test_weak_secrets(secret: str) -> None:
    """A secret out of an example is refused, unless that is asked for."""
    told = refusal(environment={"HANDY_MASTER_SECRET": secret})
    assert told.startswith(
        "master-secret: the value from the environment variable HANDY_MASTER_SECRET must not"
    )
    assert load({"allow-weak-secret": ["true"]}, {"HANDY_MASTER_SECRET": secret}).master_secret == secret


def test_empty_secret() -> None:
    """A secret that is set but empty is a mistake, not a wish for a generated one."""
    assert "must not be empty" in refusal(environment={"HANDY_MASTER_SECRET": ""})
    assert "must not be empty" in refusal({"master-secret": [""]})


def test_a_secret_is_taken_as_it_is() -> None:
    """White space around a secret belongs to it, since existing deployments' keys come from it."""
    assert load({}, {"HANDY_MASTER_SECRET": f" {SECRET}\n"}).master_secret == f" {SECRET}\n"


def test_redis_needs_its_counterpart() -> None:
    """Who asks for a bus by Redis has to name one: the missing setting is told with variable and example."""
    told = refusal(environment={"HAPPY_BUS": "redis"})
    assert told.startswith("redis-url: bus needs it; set the environment variable REDIS_URL, for example")


def test_contradicting_databases() -> None:
    """The embedded database and another one cannot both be meant."""
    told = refusal(environment={"DB_PROVIDER": "pglite", "DATABASE_URL": "postgresql://u:pw@h/d"})
    assert "remove one of the two" in told
    assert "pw" not in told


def test_pool_of_the_embedded_database() -> None:
    """A pool that the embedded PostgreSQL has no room for is refused; another one may have it."""
    assert "takes at most 30" in refusal({"database-pool": ["31"]})
    assert load({"database-pool": ["31"], "database-url": ["postgresql://h/d"]}, {}).database_pool == 31


@pytest.mark.parametrize(
    ("text", "size"), [("500MB", 500_000_000), ("1 GiB", 2**30), ("70000000", 70_000_000), ("64mi", 2**26)]
)
def test_sizes(text: str, size: int) -> None:
    """A size has a unit or none."""
    assert load({"memory": [text]}, {}).memory == size


@pytest.mark.parametrize(
    ("host", "listens"),
    [
        ("127.0.0.1", "tcp:3005:interface=127.0.0.1"),
        ("::", "tcp:3005:interface=\\:\\:"),
        ("[::1]", "tcp:3005:interface=\\:\\:1"),
        ("localhost", "tcp:3005:interface=localhost"),
    ],
)
def test_hosts(host: str, listens: str) -> None:
    """Every way to write an address becomes an endpoint that Twisted accepts."""
    assert load({}, {"HOST": host}).listen == (listens,)
    serverFromString(None, listens)


def test_listen_replaces_host_and_port() -> None:
    """With endpoints given, host and port do not add one."""
    assert load({"listen": ["tcp:1:interface=[::1]"]}, {"PORT": "2"}).listen == ("tcp:1:interface=\\:\\:1",)


@given(st.text())
def test_any_text_is_an_endpoint_or_a_value_error(text: str) -> None:
    """Whatever is written, the answer is an endpoint or a refusal."""
    try:
        serverFromString(None, endpoint(text))
    except ValueError as error:
        assert str(error).startswith(("be ", "have "))


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_address_can_be_listened_on(address: object, port: int) -> None:
    """The endpoint of any address and port is one that passes the check unchanged."""
    description = tcp(str(address), port)
    assert endpoint(description) == description


@given(st.sampled_from(IN_A_FILE), st.text())
def test_any_text_is_a_value_or_a_refusal(one: Setting, text: str) -> None:
    """No text for any setting ends in anything but a configuration or one readable line."""
    try:
        load({one.name: [text]}, {})
    except BadSetting as error:
        assert str(error).startswith(f"{one.name}: ") or "needs it" in str(error)
        assert len(str(error).splitlines()) == 1

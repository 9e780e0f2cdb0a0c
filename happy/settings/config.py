"""The settings of a server: the one table of them, and the frozen record of their values.

A setting is a field of :class:`Config`, declared once (see :mod:`happy.settings.declaration`). To add one,
add a field here and let ``python -m tests.readme`` write its row in docs/settings.md, which a test compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from happy.logs.bounded import LEVELS
from happy.logs.forms import FORMATS
from happy.settings import parsers
from happy.settings.ambient import links_containers, names_this_machine
from happy.settings.declaration import declared, setting, unused
from happy.settings.endpoints import endpoint
from happy.settings.time_zones import time_zone

_PORT = parsers.integer(0, 65535)
_MANY = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The values of every setting.

    Paths are relative to the working directory of the running server. ``master_secret`` is empty until
    :func:`happy.keys.master_secret.settle` has found or made it.
    """

    # fmt: off
    # A table: group, default, parser, variable; then what it means and an example.
    config: Path | None = setting(
        "everyday", None, parsers.path, "HAPPY_CONFIG",
        "File with settings in TOML form.", "/etc/happy.toml",
    )
    data_dir: Path = setting(
        "everyday", Path("data"), parsers.path, "DATA_DIR",
        "Folder for everything the server keeps: database, files, generated secret.", "/var/lib/happy",
    )
    listen: tuple[str, ...] = setting(
        "connections", (), endpoint, "HAPPY_LISTEN",
        "Where to listen, as a Twisted endpoint; repeatable. Replaces host and port.",
        "unix:/run/happy/happy.sock", many=True,
    )
    port: int = setting(
        "everyday", 3005, _PORT, "PORT", "TCP port to listen on.", "3005", ambient=links_containers,
    )
    host: str = setting(
        "everyday", "0.0.0.0", parsers.host, "HOST",
        "Address to listen on; :: is IPv6 and IPv4.", "127.0.0.1", ambient=names_this_machine,
    )
    public_url: str | None = setting(
        "everyday", None, parsers.base_url, "PUBLIC_URL",
        "Where clients reach the server; the base of addresses in answers. "
        "Otherwise taken from each request.", "https://happy.example.org",
    )
    webapp: Path | None = setting(
        "everyday", None, parsers.path, "HAPPY_STATIC_DIR",
        "Folder of a built web app to serve.", "/srv/happy-web",
    )
    webapp_config: str | None = setting(
        "clients", None, parsers.json_object, "HAPPY_INJECT_HTML_CONFIG",
        "JSON object that the served web app reads as its configuration. Otherwise it points to this server.",
        '{"serverUrl":"https://happy.example.org"}', needs="webapp",
    )
    master_secret: str = setting(
        "everyday", "", parsers.text, "HANDY_MASTER_SECRET",
        "Secret that all keys come from. Otherwise generated once and kept in the data folder.",
        "the output of: openssl rand -hex 32", secret=True, blank=True, verbatim=True,
    )
    allow_weak_secret: bool = setting(
        "old deployments", False, parsers.boolean, "HAPPY_ALLOW_WEAK_SECRET",
        "Accept a well-known master secret; for development only.", "true", flag=True,
    )
    registration: str = setting(
        "clients", "open", parsers.choice("open", "closed"), "HAPPY_REGISTRATION",
        "Whether unknown keys make accounts, unless happyctl registration says otherwise.", "closed",
    )
    accept_new_secret: bool = setting(
        "database", False, parsers.boolean, "HAPPY_ACCEPT_NEW_SECRET",
        "Start although the database was used with another master secret; logs everybody out.", "true",
        flag=True,
    )
    database_url: str | None = setting(
        "database", None, parsers.database_url, "DATABASE_URL",
        "PostgreSQL to use instead of the embedded one.", "postgresql://happy@localhost/happy", secret=True,
    )
    migration_snapshot: bool = setting(
        "database", True, parsers.boolean, "HAPPY_MIGRATION_SNAPSHOT",
        "Whether a start that changes the tables saves the database in the data folder first.", "false",
    )
    database_pool: int = setting(
        "database", 8, parsers.integer(1, 1000), "HAPPY_DATABASE_POOL",
        "Database connections to keep.", "8",
    )
    postgres_bin_dir: Path | None = setting(
        "database", None, parsers.path, "HAPPY_POSTGRES_BIN_DIR",
        "Folder of further PostgreSQL programs, for an embedded database of another major version.",
        "/usr/lib/postgresql/17/bin",
    )
    db_provider: str | None = setting(
        "old deployments", None, parsers.db_provider, "DB_PROVIDER",
        "Kind of database; pglite stands for the embedded one.", "postgres",
    )
    pglite_dir: Path | None = setting(
        "old deployments", None, parsers.path, "PGLITE_DIR",
        "PGlite folder, which must be moved over first.", "./data/pglite",
    )
    metrics_enabled: bool = setting(
        "logs and metrics", True, parsers.boolean, "METRICS_ENABLED",
        "Whether to serve metrics.", "false",
    )
    metrics_port: int = setting(
        "logs and metrics", 9090, _PORT, "METRICS_PORT",
        "TCP port of the metrics.", "9090", needs="metrics-enabled", ambient=links_containers,
    )
    metrics_host: str = setting(
        "logs and metrics", "127.0.0.1", parsers.host, "HAPPY_METRICS_HOST",
        "Address to serve metrics on.", "0.0.0.0", needs="metrics-enabled",
    )
    s3_host: str | None = setting(
        "files", None, parsers.host, "S3_HOST",
        "S3-compatible storage for files, instead of the data folder.", "s3.example.org",
    )
    s3_port: int | None = setting(
        "files", None, parsers.integer(1, 65535), "S3_PORT",
        "Port of the S3 storage.", "9000", needs="s3-host", ambient=links_containers,
    )
    s3_use_ssl: bool = setting(
        "files", True, parsers.boolean, "S3_USE_SSL",
        "Whether S3 is reached by TLS.", "false", needs="s3-host",
    )
    s3_region: str = setting(
        "files", "us-east-1", parsers.text, "S3_REGION",
        "Region of the S3 storage.", "eu-central-1", needs="s3-host",
    )
    s3_access_key: str | None = setting(
        "files", None, parsers.text, "S3_ACCESS_KEY",
        "Access key of the S3 storage.", "AKIA...", secret=True, needs="s3-host",
    )
    s3_secret_key: str | None = setting(
        "files", None, parsers.text, "S3_SECRET_KEY",
        "Secret key of the S3 storage.", "wJalrXUt...", secret=True, needs="s3-host",
    )
    s3_bucket: str | None = setting(
        "files", None, parsers.text, "S3_BUCKET",
        "Bucket of the S3 storage.", "happy", needs="s3-host",
    )
    s3_public_url: str | None = setting(
        "files", None, parsers.base_url, "S3_PUBLIC_URL",
        "Base of public file addresses in S3. Otherwise that of the bucket.",
        "https://files.example.org/happy", needs="s3-host",
    )
    attachment_quota: int = setting(
        "limits", 0, parsers.size(0, 2**53), "HAPPY_ATTACHMENT_QUOTA",
        "Bytes of attachments a session may hold; 0: any.", "1GB",
    )
    account_attachments: int = setting(
        "limits", 0, parsers.size(0, 2**53), "HAPPY_ACCOUNT_ATTACHMENTS",
        "Bytes of attachments all sessions of an account may hold; 0: any.", "5GB",
    )
    account_sessions: int = setting(
        "limits", 0, parsers.integer(0, _MANY), "HAPPY_ACCOUNT_SESSIONS",
        "Sessions an account may have; 0: any.", "1000",
    )
    account_sockets: int = setting(
        "limits", 0, parsers.integer(0, _MANY), "HAPPY_ACCOUNT_SOCKETS",
        "Sockets an account may hold at a time; 0: any, up to 2,000.", "100",
    )
    keep_sessions: int = setting(
        "limits", 0, parsers.integer(0, 36_500), "HAPPY_KEEP_SESSIONS",
        "Days without activity after which happyctl cleanup removes a session; 0 keeps all.", "180",
    )
    keep_usage: int = setting(
        "limits", 0, parsers.integer(0, 36_500), "HAPPY_KEEP_USAGE",
        "Days after which happyctl cleanup removes usage reports; 0: never.", "400",
    )
    keep_feed: int = setting(
        "limits", 0, parsers.integer(0, 36_500), "HAPPY_KEEP_FEED",
        "Days after which happyctl cleanup removes feed items; 0: never.", "400",
    )
    github_client_id: str | None = setting(
        "integrations", None, parsers.text, "GITHUB_CLIENT_ID",
        "Client id of a GitHub OAuth app.", "Iv1.0123456789abcdef",
    )
    github_client_secret: str | None = setting(
        "integrations", None, parsers.text, "GITHUB_CLIENT_SECRET",
        "Client secret of the GitHub OAuth app.", "0123abcd...", secret=True, needs="github-client-id",
    )
    github_redirect_url: str | None = setting(
        "integrations", None, parsers.web_url, ("GITHUB_REDIRECT_URL", "GITHUB_REDIRECT_URI"),
        "Callback address that the GitHub OAuth app has.",
        "https://happy.example.org/v1/connect/github/callback", needs="github-client-id",
    )
    github_return_url: str = setting(
        "integrations", "https://app.happy.engineering", parsers.web_url, "HAPPY_GITHUB_RETURN_URL",
        "Where a browser goes after the GitHub callback.", "https://happy.example.org",
        needs="github-client-id",
    )
    github_webhook_secret: str | None = setting(
        "integrations", None, parsers.text, "GITHUB_WEBHOOK_SECRET",
        "Secret of the GitHub webhook.", "0123abcd...", secret=True,
    )
    elevenlabs_api_key: str | None = setting(
        "integrations", None, parsers.text, "ELEVENLABS_API_KEY",
        "Key of an ElevenLabs account; switches voice on.", "sk_...", secret=True,
    )
    revenuecat_api_key: str | None = setting(
        "integrations", None, parsers.text, "REVENUECAT_API_KEY",
        "Key of a RevenueCat account, for paid voice.", "sk_...", secret=True,
        needs="elevenlabs-api-key",
    )
    revenuecat_project: str = setting(
        "integrations", "proj493735ad", parsers.text, "HAPPY_REVENUECAT_PROJECT",
        "RevenueCat project that sells the subscription.", "proj0123abcd",
        needs="elevenlabs-api-key",
    )
    voice_for_all: bool = setting(
        "integrations", True, parsers.boolean, "HAPPY_VOICE_FOR_ALL",
        "Whether everybody may talk as long as a subscriber where no RevenueCat key is set.", "false",
        needs="elevenlabs-api-key",
    )
    voice_agents: tuple[str, ...] = setting(
        "integrations", (), parsers.text, "HAPPY_VOICE_AGENTS",
        "Id of a voice agent that clients may use; repeatable. Otherwise any.", "agent_0123456789abcdef",
        many=True, needs="elevenlabs-api-key",
    )
    voice_fail_open: bool = setting(
        "integrations", True, parsers.boolean, "HAPPY_VOICE_FAIL_OPEN",
        "Whether voice works while its use cannot be counted.", "false",
        needs="elevenlabs-api-key",
    )
    update_prompt: bool = setting(
        "clients", False, parsers.boolean, "HAPPY_UPDATE_PROMPT",
        "Let the app ask its user to update when it is too old.", "true", flag=True,
    )
    debug_log: bool = setting(
        "clients", False, parsers.boolean, "DANGEROUSLY_LOG_TO_SERVER_FOR_AI_AUTO_DEBUGGING",
        "Write what development builds of the clients send as log lines into the log; may contain anything.",
        "true", flag=True,
    )
    log_format: str = setting(
        "logs and metrics", "text", parsers.choice(*FORMATS), "HAPPY_LOG_FORMAT",
        "Form of the log: text, or json with one object a line.", "json",
    )
    auth_log: Path | None = setting(
        "logs and metrics", None, parsers.path, "HAPPY_AUTH_LOG",
        "File for a line with the address of each refused login, for fail2ban; none by default.",
        "/var/log/happy/auth.log",
    )
    log_level: str = setting(
        "logs and metrics", "info", parsers.choice(*LEVELS), "HAPPY_LOG_LEVEL",
        "How grave a message must be to be written into the log: debug, info, warn or error.", "debug",
    )
    time_zone: str = setting(
        "clients", "UTC", time_zone, "TZ",
        "Time zone that usage reports are grouped by.", "Europe/Berlin",
    )
    ping_interval: float = setting(
        "connections", 15.0, parsers.seconds(0.1, 3600), "HAPPY_PING_INTERVAL",
        "Seconds between pings to a socket.", "15",
    )
    ping_timeout: float = setting(
        "connections", 45.0, parsers.seconds(0.1, 3600), "HAPPY_PING_TIMEOUT",
        "Seconds to wait for the answer to a ping.", "45",
    )
    upgrade_timeout: float = setting(
        "connections", 10.0, parsers.seconds(0.1, 3600), "HAPPY_UPGRADE_TIMEOUT",
        "Seconds for the upgrade from polling.", "10",
    )
    connect_timeout: float = setting(
        "connections", 20.0, parsers.seconds(0.1, 3600), "HAPPY_CONNECT_TIMEOUT",
        "Seconds for a new socket to log in.", "20",
    )
    max_payload: int = setting(
        "limits", 1_000_000, parsers.size(1000, _MANY), "HAPPY_MAX_PAYLOAD",
        "Bytes that a packet to the server may have.", "1000000",
    )
    max_queued: int = setting(
        "limits", 16 * 1024 * 1024, parsers.size(65536, _MANY), "HAPPY_MAX_QUEUED",
        "Bytes that may wait for a slow socket before it is closed.", "16777216",
    )
    memory: int = setting(
        "limits", 512 * 1024 * 1024, parsers.size(64 * 1024 * 1024, 2**53), "HAPPY_MEMORY",
        "Bytes that everything clients make the server keep may add to it.", "1GiB",
    )
    trusted_proxies: tuple[parsers.Network, ...] = setting(
        "everyday", (), parsers.network, "HAPPY_TRUSTED_PROXIES",
        "Network of reverse proxies whose X-Forwarded-For is believed; repeatable.", "127.0.0.0/8", many=True,
    )
    recovery: bool = setting(
        "clients", True, parsers.boolean, "HAPPY_RECOVERY",
        "Whether clients that come back within two minutes are sent what they missed.", "false",
    )
    address_limit: int = setting(
        "limits", 20_000, parsers.integer(0, _MANY), "HAPPY_ADDRESS_LIMIT",
        "Login and pairing requests a minute from one address; 0: any.", "20000",
    )
    login_limit: int = setting(
        "limits", 120, parsers.integer(0, _MANY), "HAPPY_LOGIN_LIMIT",
        "Logins a minute with one key; 0: any.", "120",
    )

    workers: int = setting(
        "several nodes", 1, parsers.workers, "HAPPY_WORKERS",
        "Processes that serve clients; auto: one for each core.", "auto",
    )
    redis_url: str | None = setting(
        "several nodes", None, parsers.redis_url, "REDIS_URL",
        "Redis or Valkey by which nodes hear each other.", "redis://user:password@localhost:6379/0",
        secret=True,
    )
    bus: str | None = setting(
        "several nodes", None, parsers.choice("redis", "postgres", "none"), "HAPPY_BUS",
        "How nodes hear each other: redis if there is a redis-url, postgres for several workers, or none.",
        "postgres",
    )
    node: str | None = setting(
        "several nodes", None, parsers.label, "HAPPY_NODE",
        "Name of this node, by which proxies can tell whose a session is. "
        "Without it, nodes have their hosts' names in the log alone.", "n1",
    )
    cluster: str = setting(
        "several nodes", "happy", parsers.label, "HAPPY_CLUSTER",
        "Name of the service, for several that share a Redis or a database.", "staging",
    )
    shortcuts: bool = setting(
        None, True, parsers.boolean, "HAPPY_SHORTCUTS",
        "Whether what is usual bypasses the general ways of the libraries.", "false",
    )
    # fmt: on

    without_effect: tuple[str, ...] = ()
    """Names of the settings that are given in vain (:mod:`happy.settings.effects`)."""

    unknown: tuple[str, ...] = ()
    """A line about each name in the file that is no setting."""


UNUSED = (
    unused("github-app-id", "GITHUB_APP_ID", "GitHub is asked as the OAuth app"),
    unused("github-private-key", "GITHUB_PRIVATE_KEY", "GitHub is asked as the OAuth app"),
    unused("fast-frames", "HAPPY_FAST_FRAMES", "short cuts are not chosen one by one"),
    unused("fast-requests", "HAPPY_FAST_REQUESTS", "short cuts are not chosen one by one"),
    unused("eager-writes", "HAPPY_EAGER_WRITES", "short cuts are not chosen one by one"),
    unused("direct-polling", "HAPPY_DIRECT_POLLING", "short cuts are not chosen one by one"),
)
"""Accepted from old deployments with any value, and without effect."""

SETTINGS = declared(Config)
SHOWN = (*(one for one in SETTINGS if one.group), *UNUSED)
"""What has an option and stands in the file, the help and the documents."""

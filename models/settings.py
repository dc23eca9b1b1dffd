"""Settings, read from the environment once by each composition root; never a module-level value."""

from __future__ import annotations

import os
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from models.errors import ConnectorError, ErrorType
from models.web import check_host

SECRETS_DIR = "EMAIL_CONNECTOR_SECRETS_DIR"
"""Variable that names a folder of files, each named as a variable and holding its value: how
containers are given secrets. A variable goes before a file.
"""


def _data_home() -> Path:
    return Path("~/.local/share/email-connector").expanduser()


class Settings(BaseSettings):
    """All settings; each is the variable ``EMAIL_CONNECTOR_`` + its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="EMAIL_CONNECTOR_", extra="ignore", hide_input_in_errors=True
    )

    data_dir: Path = Field(default_factory=_data_home)
    """Folder of everything embedded: database, large content, keys made on first run."""
    database_url: str | None = None
    """SQLAlchemy URL (postgresql+psycopg://…); default: SQLite in ``data_dir``."""
    blob_url: str | None = None
    """Where pieces of content above ``inline_content_bytes`` are kept; default: in ``data_dir``."""
    inline_content_bytes: int = Field(default=256 * 1024, ge=0)
    """Pieces of content up to this size stand in the database, in their row's transaction."""
    encryption_keys: SecretStr | None = None
    """Fernet keys for stored secrets, newest first, separated by commas."""
    payload_keys: SecretStr | None = None
    """Payload keys ``id:base64`` (32 bytes each), newest first, separated by commas."""
    payload_encryption: Literal["on", "off"] = "on"
    """``off`` for those who encrypt payloads elsewhere."""
    public_url: str = "http://127.0.0.1:8089"
    """Base URL under which content links are reachable from outside."""
    content_url_seconds: int = Field(default=900, ge=1)
    """How long a content link is valid."""
    content_keys: SecretStr | None = None
    """Keys that sign content links, ``id:base64`` (32 bytes each), newest first, by commas."""
    http_host: str = "127.0.0.1"
    """Address on which ``serve`` listens."""
    http_port: int = Field(default=8089, ge=0, le=65535)
    """Port on which ``serve`` listens; 0 = any free one."""
    codec_token: SecretStr | None = Field(default=None, min_length=32)
    """Bearer token of the codec server; default: made on first run, in ``data_dir``."""
    codec_origins: list[str] = ["http://127.0.0.1:8233", "http://localhost:8233"]
    """Origins of Temporal's UI, whose pages may use the codec server; the first is linked to."""
    ca_file: Path | None = None
    """Extra trust anchors (PEM) for mail servers and webhooks."""
    egress_allow: list[str] = []
    """Networks (CIDR) and hosts that webhooks may reach although they are private, also by http."""

    temporal_address: str | None = None
    """Temporal frontend; default: Temporal's own variables and profile, else 127.0.0.1:7233."""
    temporal_namespace: str | None = None
    temporal_ui_url: str = "http://127.0.0.1:8233"
    """Base URL of Temporal's UI, for the links that commands print."""

    smtp_concurrency: int = Field(default=50, ge=1)
    """Transmissions at once per worker."""
    imap_concurrency: int = Field(default=8, ge=1)
    """Mailbox activities (threads) at once per worker."""
    listen_concurrency: int = Field(default=1000, ge=1)
    """Folders that a worker listens to at once."""
    listen_logins: int = Field(default=16, ge=1)
    """Logins of listeners at once per worker."""
    listen_probe_seconds: float = Field(default=35, gt=0)
    """How often a listener has its server prove that the connection lives."""
    listen_reply_seconds: float = Field(default=15, gt=0)
    """Silence, when asked, after which a listener takes its connection for dead."""
    listen_poll_seconds: float = Field(default=60, gt=0)
    """How often a folder is looked at whose server offers no IDLE."""
    listen_renew_seconds: float = Field(default=3600, gt=0)
    """After about this a listener is started anew, which looks for mail nobody told of."""
    listen_heartbeat_seconds: float = Field(default=60, gt=0)
    """Silence after which another worker takes a listener over."""
    listen_look_seconds: float = Field(default=5, gt=0)
    """How often a worker looks for accounts that were added, changed or deleted."""
    queue_concurrency: int = Field(default=50, ge=1)
    """Accounts whose queued mail a worker sends at once."""
    queue_connections: int = Field(default=10, ge=1)
    """Connections for one account's queued mail at once, if its provider allows so many."""
    queue_drains: int = Field(default=2, ge=1)
    """Steps that drain the queue at once per worker."""
    queue_lease_seconds: float = Field(default=60, gt=0)
    """How long a worker that drains the queue holds a mail without a sign of life."""
    queue_round_seconds: float = Field(default=60, gt=0)
    """After this, a step that drains the queue tells its workflow how far it got."""
    crypto_concurrency: int = Field(default=4, ge=1)
    """Compositions (threads) at once per worker."""

    connection_patience_seconds: float = Field(default=10, ge=0, le=600)
    """How long a transmission waits for a free connection before the mail is put off."""
    slot_lease_seconds: float = Field(default=30, gt=0)
    """Time after which the connections of a worker that died are free for others."""
    slow_down_seconds: float = Field(default=30, gt=0)
    """First pause when a server asks us to slow down; each further one is twice as long."""
    max_slow_down_seconds: float = Field(default=1800, gt=0)
    """Longest pause that a server's wish to slow down leads to."""

    webhook_concurrency: int = Field(default=50, ge=1)
    """Webhook requests at once per worker."""
    webhook_timeout_seconds: float = Field(default=30, gt=0, le=600)
    """Patience for a webhook's receiver, from the look-up of its name to its reply."""

    retry_delays_seconds: list[float] = [60, 120, 300, 600, 900, 1800, 3600]
    """Gaps between send attempts; the last one repeats."""
    retry_jitter: float = Field(default=0.2, ge=0, le=0.5)
    """Each gap is stretched or shortened at random by up to this share."""
    max_retry_delay_seconds: float = Field(default=3900, gt=0)
    """No gap is ever longer, whatever the jitter or a server's hint says."""
    heartbeat_timeout_seconds: float = Field(default=30, gt=0)
    """Silence after which Temporal gives a worker up."""
    final_reply_seconds: float = Field(default=600, gt=0)
    """Patience for the reply after the final dot (RFC 5321 §4.5.3.2.6)."""
    mailbox_busy_seconds: float = Field(default=60, ge=0)
    """How long a retrieval waits for another one of the same folder before it is refused."""
    fetch_retry_seconds: float = Field(default=24 * 3600, gt=0)
    """How long a retrieval that has begun waits for a mail server that went away."""
    shutdown_seconds: float = Field(default=10, ge=0)
    """Grace for running activities when a worker is told to stop."""
    max_message_bytes: int = Field(default=256 * 1024 * 1024, ge=1)
    """Largest mail read from a server."""

    metrics_address: str | None = None
    """``[IP:]PORT`` of the page of Prometheus metrics, ``/metrics``; without an IP on loopback."""
    health_address: str | None = None
    """``[IP:]PORT`` of ``/healthz`` and ``/readyz``; without an IP on loopback."""
    log_format: Literal["plain", "json"] = "plain"
    """``json`` for one object a line."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least level that is logged."""

    @field_validator("metrics_address", "health_address")
    @classmethod
    def _listener(cls, value: str | None) -> str | None:
        """Return IP:PORT; empty means none, and who names no IP is not heard from outside."""
        if not value:
            return None
        host, _, port = value.rpartition(":")
        try:
            ip = ip_address(host.strip("[]") if host else "127.0.0.1")
        except ValueError:
            raise ValueError("give [IP:]PORT; an IP, not a name") from None
        if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError("give [IP:]PORT with a port from 1 to 65535")
        return f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then variables, then files of secrets."""
        folder = os.environ.get(SECRETS_DIR)
        if folder:
            if not Path(folder).is_dir():  # or new keys would be made in place of the given ones
                raise ConnectorError(
                    ErrorType.INVALID_INPUT, f"{folder} is not a folder", field=SECRETS_DIR
                )
            file_secret_settings = SecretsSettingsSource(settings_cls, secrets_dir=folder)
        return init_settings, env_settings, dotenv_settings, file_secret_settings

    @field_validator("retry_delays_seconds")
    @classmethod
    def _some_delay(cls, value: list[float]) -> list[float]:
        if not value or min(value) <= 0:
            raise ValueError("give at least one delay, each above 0")
        return value

    @field_validator("egress_allow")
    @classmethod
    def _networks_and_hosts(cls, value: list[str]) -> list[str]:
        for entry in value:
            try:
                ip_network(entry)
            except ValueError:
                check_host(entry)
        return value

    def sqlalchemy_url(self) -> str:
        """Return the database URL."""
        return self.database_url or f"sqlite:///{self.data_dir / 'email-connector.db'}"

    def blob_folder_url(self) -> str:
        """Return the URL of the blob store."""
        return self.blob_url or (self.data_dir / "content").absolute().as_uri()

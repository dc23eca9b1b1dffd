"""Settings: from the environment, with defaults that are safe, refused without being quoted."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from sqlalchemy import text

from activities.store.assembly import open_store
from models.errors import ConnectorError
from models.settings import SECRETS_DIR, Settings
from tests.stores import Stores


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"EMAIL_CONNECTOR_{name.upper()}", raising=False)
    monkeypatch.delenv(SECRETS_DIR, raising=False)


def test_defaults() -> None:
    settings = Settings()
    assert settings.payload_encryption == "on"
    assert settings.inline_content_bytes == 256 * 1024
    assert settings.sqlalchemy_url().startswith("sqlite:///")
    assert settings.sqlalchemy_url().endswith("email-connector.db")
    assert settings.blob_folder_url().startswith("file:///")
    assert settings.temporal_address is None  # then Temporal's own settings count


def test_each_is_a_variable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {
        "DATA_DIR": str(tmp_path),
        "RETRY_DELAYS_SECONDS": "[1, 2.5]",
        "PAYLOAD_ENCRYPTION": "off",
        "SMTP_CONCURRENCY": "7",
        "EGRESS_ALLOW": '["10.0.0.0/8", "fd12::1", "hooks.internal"]',
        "TEMPORAL_ADDRESS": "example.org:7233",
    }.items():
        monkeypatch.setenv(f"EMAIL_CONNECTOR_{name}", value)
    settings = Settings()
    assert settings.data_dir == tmp_path
    assert settings.retry_delays_seconds == [1, 2.5]
    assert settings.payload_encryption == "off"
    assert settings.smtp_concurrency == 7
    assert settings.egress_allow == ["10.0.0.0/8", "fd12::1", "hooks.internal"]
    assert settings.temporal_address == "example.org:7233"
    assert settings.sqlalchemy_url() == f"sqlite:///{tmp_path}/email-connector.db"
    assert settings.blob_folder_url() == (tmp_path / "content").as_uri()


def test_urls_go_before_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMAIL_CONNECTOR_DATABASE_URL", "postgresql+psycopg://u@h/d")
    monkeypatch.setenv("EMAIL_CONNECTOR_BLOB_URL", "file:///elsewhere")
    settings = Settings()
    assert settings.sqlalchemy_url() == "postgresql+psycopg://u@h/d"
    assert settings.blob_folder_url() == "file:///elsewhere"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RETRY_DELAYS_SECONDS", "[]"),
        ("RETRY_DELAYS_SECONDS", "[0]"),
        ("RETRY_DELAYS_SECONDS", "[60, -1]"),
        ("RETRY_JITTER", "0.9"),
        ("SMTP_CONCURRENCY", "0"),
        ("PAYLOAD_ENCRYPTION", "canary"),
        ("HEARTBEAT_TIMEOUT_SECONDS", "canary"),
        ("MAX_MESSAGE_BYTES", "-1"),
        ("METRICS_ADDRESS", "canary:9464"),
        ("METRICS_ADDRESS", "localhost:9464"),
        ("METRICS_ADDRESS", "127.0.0.1"),
        ("HEALTH_ADDRESS", "127.0.0.1:65536"),
        ("HEALTH_ADDRESS", "0"),
        ("LOG_FORMAT", "canary"),
        ("LOG_LEVEL", "canary"),
        ("EGRESS_ALLOW", '["10.0.0.1/8"]'),
        ("EGRESS_ALLOW", '["https://canary.example/"]'),
    ],
)
def test_nonsense_is_refused_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"EMAIL_CONNECTOR_{name}", value)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert name.lower() in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("", None),
        ("9464", "127.0.0.1:9464"),
        (":9464", "127.0.0.1:9464"),
        ("0.0.0.0:9464", "0.0.0.0:9464"),
        ("[::1]:9464", "[::1]:9464"),
    ],
)
def test_who_names_no_ip_is_not_heard_from_outside(
    monkeypatch: pytest.MonkeyPatch, value: str, address: str | None
) -> None:
    monkeypatch.setenv("EMAIL_CONNECTOR_METRICS_ADDRESS", value)
    monkeypatch.setenv("EMAIL_CONNECTOR_HEALTH_ADDRESS", value)
    settings = Settings()
    assert settings.metrics_address == settings.health_address == address


def test_secrets_may_be_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "email_connector_database_url").write_text("postgresql+psycopg://u@file/d\n")
    (tmp_path / "email_connector_encryption_keys").write_text("from the file\n")
    monkeypatch.setenv(SECRETS_DIR, str(tmp_path))
    monkeypatch.setenv("EMAIL_CONNECTOR_DATABASE_URL", "postgresql+psycopg://u@variable/d")
    settings = Settings()
    assert settings.database_url == "postgresql+psycopg://u@variable/d"
    assert settings.encryption_keys == SecretStr("from the file")


def test_a_missing_folder_of_secrets_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(SECRETS_DIR, str(tmp_path / "nowhere"))
    with pytest.raises(ConnectorError, match="is not a folder"):
        Settings()


def test_secrets_are_not_shown() -> None:
    settings = Settings(encryption_keys=SecretStr("canary"), payload_keys=SecretStr("canary"))
    assert "canary" not in repr(settings) + str(settings) + settings.model_dump_json()


def test_a_store_is_opened_in_a_private_folder(tmp_path: Path, stores: Stores) -> None:
    folder = tmp_path / "data"
    store = open_store(Settings(data_dir=folder, **stores.fresh()))
    try:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert any(folder.iterdir())
        for path in folder.rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
        with store.database.engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM message")).scalar() == 0
    finally:
        store.close()

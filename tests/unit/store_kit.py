"""A store in a temporary folder, and rows to begin with."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from activities.crypto.keyring import load_keyring
from activities.crypto.secretbox import SecretBox
from activities.ports import ComposedMail, FetchedMail, ParsedMail
from activities.store import inbox, outbox
from activities.store.accounts import Accounts, Secrets
from activities.store.content import ContentStore, Piece
from activities.store.engine import Database
from activities.store.local_blobs import LocalBlobs
from activities.store.migrate import migrate
from models.account import AccountSettings
from models.delivery import ComposeInput
from models.message import EmailMessage
from models.settings import Settings
from tests.stores import Stores


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory, stores: Stores) -> Iterator[Database]:
    """A database with the current schema; each test makes an account of its own."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("store"), **stores.fresh())
    opened = Database(settings.sqlalchemy_url())
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def account_id(database: Database, tmp_path: Path) -> str:
    """An account nobody else has."""
    account = str(uuid.uuid4())
    settings = AccountSettings.model_validate(
        {
            "name": account,
            "email_address": "sender@example.org",
            "outgoing": {"host": "localhost", "login": "none"},
        }
    )
    box = SecretBox(load_keyring(Settings(data_dir=tmp_path / "keys")).secrets)
    with database.write() as session:
        secrets = Secrets(outgoing=SecretStr("x"))
        Accounts(box).add(session, account, settings, secrets)
    return account


def queued(database: Database, account_id: str, recipients: Sequence[str]) -> str:
    """Put a mail into the outbox; returns the id of its delivery."""
    message_id = str(uuid.uuid4())
    request = ComposeInput(
        message_id=message_id,
        driver=f"send/{message_id} {uuid.uuid4()}",
        date=datetime.now(UTC),
        account=account_id,
        message=EmailMessage.model_validate({"to": list(recipients), "content": "x"}),
    )
    mail = ComposedMail(
        raw=f"Message-ID: <{message_id}@example.org>\r\nSubject: x\r\n\r\nx\r\n".encode(),
        internet_message_id=f"<{message_id}@example.org>",
        envelope_from="sender@example.org",
        subject="x",
        sender="sender@example.org",
        to=tuple(recipients),
    )
    content = ContentStore(LocalBlobs(Path("unused")), 1000).prepare(
        [Piece(f"{message_id}.mail", "mail", "message/rfc822", mail.raw, message_id)]
    )
    with database.write() as session:
        outbox.insert(session, account_id, request, mail, content, [])
    return outbox.delivery_id_of(message_id)


def received(
    database: Database, account_id: str, folder_id: str, uid_validity: int, uids: Sequence[int]
) -> dict[int, str]:
    """Put mails into a folder's inbox; returns their ids by UID."""
    arrivals = [
        inbox.arrival(account_id, FetchedMail(uid, f"Subject: {uid}\r\n\r\n".encode()))
        for uid in uids
    ]
    placed = [(a.mail.uid, a.message_id) for a in arrivals]
    with database.write() as session:
        inbox.insert(session, account_id, [(a, ParsedMail()) for a in arrivals], [])
        inbox.place(session, folder_id, uid_validity, placed)
    return dict(placed)

"""Opens the store as the settings describe it: for the worker, and for commands beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from activities.crypto.keyring import Keyring, load_keyring
from activities.crypto.secretbox import SecretBox
from activities.ports import Metrics
from activities.store.accounts import Accounts
from activities.store.blob_stores import open_blobs
from activities.store.callbacks import StoredCallbacks
from activities.store.content import ContentStore
from activities.store.engine import Database
from activities.store.links import ContentLinks
from activities.store.migrate import migrate
from activities.store.webhooks import Webhooks
from activities.unwatched import NO_METRICS
from models.settings import Settings


@dataclass(frozen=True)
class Store:
    """Everything that is kept."""

    database: Database
    accounts: Accounts
    content: ContentStore
    links: ContentLinks
    webhooks: Webhooks
    callbacks: StoredCallbacks
    keys: Keyring

    def close(self) -> None:
        """Close the database."""
        self.database.close()


def open_store(settings: Settings, metrics: Metrics = NO_METRICS) -> Store:
    """Open the store, making keys and tables where there are none.

    Raises:
        ConnectorError: ``InvalidInput`` or ``StoreUnavailable``; what to set is in its text.
    """
    settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = load_keyring(settings)
    content = ContentStore(open_blobs(settings.blob_folder_url()), settings.inline_content_bytes)
    content.check()
    database = Database(settings.sqlalchemy_url(), metrics=metrics)
    try:
        migrate(database)
    except BaseException:
        database.close()
        raise
    lifetime = timedelta(seconds=settings.content_url_seconds)
    box = SecretBox(keys.secrets)
    return Store(
        database=database,
        accounts=Accounts(box, settings.ca_file),
        content=content,
        links=ContentLinks(keys.content, settings.public_url, lifetime),
        webhooks=Webhooks(box),
        callbacks=StoredCallbacks(box),
        keys=keys,
    )

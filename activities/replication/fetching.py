"""Fetches a batch: reads, parses and stores its mails, then writes the batch itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from activities.heartbeat import stop_if_cancelled
from activities.mail.parse import parse_many
from activities.mail.render import render_html
from activities.ports import FetchedMail, MailboxConnector
from activities.replication.servers import check_validity, incoming
from activities.store import inbox, mailboxes
from activities.store.accounts import Accounts
from activities.store.content import ContentStore
from activities.store.engine import Database
from activities.store.log import record
from models.callback import CallbackKind
from models.errors import ConnectorError, ErrorType
from models.ids import callback_workflow_id
from models.mailbox import RetrievalOptions
from models.tables import Retrieval
from models.uid_set import as_ranges, section

_CHUNK_BYTES = 16 * 1024 * 1024
"""Mails are stored whenever this much has been read, so that memory does not grow with a batch."""


class Fetching:
    """Fetches batches."""

    def __init__(
        self,
        database: Database,
        accounts: Accounts,
        content: ContentStore,
        connector: MailboxConnector,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._content = content
        self._connector = connector

    def fetch(self, plan: Retrieval, number: int, batch_id: str) -> None:
        """Fetch batch ``number`` of the plan; on return all of it is committed."""
        options = RetrievalOptions.model_validate(plan.options)
        size = options.batch_size
        uids = section(as_ranges(plan.uids), number * size, (number + 1) * size)
        with self._database.read() as session:
            account_id = mailboxes.account_of(session, plan.folder_id)
            placed = inbox.located(session, plan.folder_id, plan.uid_validity, uids)
        skipped = self._fetch_missing(plan, options, account_id, uids, placed)
        with self._database.write() as session:
            if mailboxes.batch(session, batch_id) is not None:
                return  # another attempt at this step was quicker
            mailboxes.hold_folder(session, plan.folder_id, plan.owner)
            for uid in sorted(skipped):
                record(
                    session,
                    "mail_skipped",
                    account_id=account_id,
                    error_type=ErrorType.MESSAGE_TOO_LARGE,
                    folder=plan.folder_id,
                    uid=uid,
                )
            found = set(placed.values())
            taken = mailboxes.told(session, plan, found)
            if not plan.rewound:
                taken |= mailboxes.acknowledged_by(session, plan.consumer, found)
            mailboxes.add_batch(
                session,
                batch_id=batch_id,
                plan=plan,
                number=number,
                workflow_id=callback_workflow_id(CallbackKind.ON_EMAIL_FETCH, batch_id),
                items=[
                    {
                        "position": position,
                        "uid": uid,
                        "message_id": placed.get(uid),
                        "skipped": uid in skipped,
                        "known": placed.get(uid) in taken,
                    }
                    for position, uid in enumerate(uids)
                ],
            )

    def _fetch_missing(
        self,
        plan: Retrieval,
        options: RetrievalOptions,
        account_id: str,
        uids: Sequence[int],
        placed: dict[int, str],
    ) -> set[int]:
        """Fetch and store what is not in ``placed`` yet, adding to it; returns what is too large.

        One mail above the limit must not keep all others from being replicated.
        """
        _, endpoint = incoming(self._database, self._accounts, account_id)
        skipped: set[int] = set()
        while missing := [uid for uid in uids if uid not in placed and uid not in skipped]:
            with self._connector.connect(endpoint) as mailbox:
                check_validity(mailbox.open(options.folder, read_only=True), plan)
                try:
                    for chunk in _chunks(mailbox.fetch(missing)):
                        placed |= self._store(plan, options, account_id, chunk)
                except ConnectorError as error:
                    uid = error.detail.get("uid")
                    if error.type is not ErrorType.MESSAGE_TOO_LARGE or uid is None:
                        raise
                    skipped.add(int(uid))
                else:
                    break  # what is still missing is gone from the server
        return skipped

    def _store(
        self,
        plan: Retrieval,
        options: RetrievalOptions,
        account_id: str,
        mails: Sequence[FetchedMail],
    ) -> dict[int, str]:
        arrivals = [inbox.arrival(account_id, mail) for mail in mails]
        with self._database.read() as session:
            known = inbox.stored(session, [a.message_id for a in arrivals])
        # One row per mail, also when a folder holds the same bytes twice.
        new = list({a.message_id: a for a in arrivals if a.message_id not in known}.values())
        parsed = list(zip(new, parse_many([a.mail.raw for a in new]), strict=True))
        content = self._content.prepare(
            piece
            for item, mail in parsed
            for piece in inbox.pieces(
                item, mail, render_html(mail, options), keep_source=not options.sanitize
            )
        )
        placed = [(a.mail.uid, a.message_id) for a in arrivals]
        with self._database.write() as session:
            inbox.insert(session, account_id, parsed, content)
            inbox.place(session, plan.folder_id, plan.uid_validity, placed)
        return dict(placed)


def _chunks(mails: Iterator[FetchedMail]) -> Iterator[list[FetchedMail]]:
    chunk: list[FetchedMail] = []
    size = 0
    for mail in mails:
        stop_if_cancelled()
        chunk.append(mail)
        size += len(mail.raw)
        if size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk

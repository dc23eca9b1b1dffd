"""Reading what is stored: the envelope of a mail with links to its content, and the error log."""

from __future__ import annotations

from temporalio import activity

from activities.store import history, messages
from activities.store.accounts import Accounts
from activities.store.engine import Database
from activities.store.links import ContentLinks
from activities.store.messages import StoredMessage
from models.message import (
    AttachmentPosition,
    ContentLink,
    GetEmailMessageInput,
    GetEmailMessageResult,
    PartLink,
)
from models.names import ActivityName, Direction
from models.system_error import GetSystemErrorInput, GetSystemErrorResult


class ReadingActivities:
    """Activities of ``GetEmailMessage`` and ``GetSystemError``."""

    def __init__(self, database: Database, links: ContentLinks, accounts: Accounts) -> None:
        self._database = database
        self._links = links
        self._accounts = accounts

    @activity.defn(name=ActivityName.READ_MESSAGE, no_thread_cancel_exception=True)
    def read_message(self, request: GetEmailMessageInput) -> GetEmailMessageResult:
        """The envelope of a mail and links to its content; never the content itself."""
        with self._database.read() as session:
            found = messages.get(session, request.message_id)
        message = found.message
        return GetEmailMessageResult(
            id=message.id,
            account_id=message.account_id,
            direction=Direction(message.direction),
            status=message.status,
            internet_message_id=message.internet_message_id,
            subject=message.subject[:1000],
            sender=message.sender,
            to=message.to[:200],
            cc=message.cc[:200],
            date=message.date,
            size=message.size,
            quarantined=message.quarantined is not None,
            raw=self._content(found, "raw") or self._content(found, "mail"),
            text=self._content(found, "text"),
            html=self._html(found, remote_images=request.remote_images),
            parts=self._parts(found),
        )

    @activity.defn(name=ActivityName.READ_ERRORS, no_thread_cancel_exception=True)
    def read_errors(self, request: GetSystemErrorInput) -> GetSystemErrorResult:
        """The latest errors with what to do about each."""
        with self._database.read() as session:
            account = request.account
            wanted = history.StepFilter(
                account_id=None if account is None else self._accounts.id_of(session, account),
                error_type=request.error_type,
                errors=True,
                since=request.since,
                before=request.before,
            )
            found = history.steps(session, wanted, limit=request.limit)
        return GetSystemErrorResult(errors=[history.logged_error(step) for step in found])

    def _html(self, found: StoredMessage, *, remote_images: bool) -> ContentLink | None:
        link = self._content(found, "html")
        if link is None or not remote_images:
            return link
        key = messages.pictured_key(found.message.id)
        url, expires = self._links.sign(key)
        return link.model_copy(update={"key": key, "url": url, "expires_at": expires})

    def _content(self, found: StoredMessage, kind: str) -> ContentLink | None:
        row = found.content.get(kind)
        if row is None:
            return None
        url, expires = self._links.sign(row.key)
        return ContentLink(
            key=row.key, media_type=row.media_type, size=row.size, url=url, expires_at=expires
        )

    def _parts(self, found: StoredMessage) -> list[PartLink]:
        links: list[PartLink] = []
        for part in found.parts[:100]:
            key = messages.part_key(part)
            url, expires = self._links.sign(key)
            links.append(
                PartLink(
                    key=key,
                    media_type=part.media_type[:255],
                    size=part.size,
                    url=url,
                    expires_at=expires,
                    name=part.name[:255],
                    position=AttachmentPosition(part.position),
                    content_id=part.content_id,
                )
            )
        return links

"""A stored batch as a callback gets it."""

from __future__ import annotations

from sqlmodel import Session

from activities.store import mailboxes, messages
from models.mailbox import BatchResult, FetchedBatch, RetrievalOptions
from models.tables import Retrieval


def batch_result(session: Session, plan: Retrieval, batch_id: str) -> BatchResult:
    """Return a batch of a run: the same each time it is asked for."""
    items = mailboxes.items(session, batch_id)
    fresh = {i.message_id: i.uid for i in reversed(items) if i.message_id and not i.known}
    placed = [(uid, message_id) for message_id, uid in reversed(fresh.items())]
    summaries = messages.summaries(session, placed)
    options = RetrievalOptions.model_validate(plan.options)
    batch = FetchedBatch(
        batch_id=batch_id,
        account_id=mailboxes.account_of(session, plan.folder_id),
        folder=options.folder,
        consumer=plan.consumer,
        messages=summaries,
    )
    return BatchResult(
        batch=batch,
        known=sum(i.known for i in items),
        quarantined=sum(m.quarantined for m in summaries),
        skipped=sum(i.skipped for i in items),
    )

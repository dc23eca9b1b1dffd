"""Tells Temporal's visibility whose mail a run is about and how it stands.

Search attributes are not encrypted: opaque ids and states only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from models.delivery import MessageStatus
    from models.names import Direction, RunStatus, SearchAttribute

_PATCH = "search-attributes"
_ACCOUNT = SearchAttributeKey.for_keyword(SearchAttribute.ACCOUNT)
_STATUS = SearchAttributeKey.for_keyword(SearchAttribute.STATUS)
_DIRECTION = SearchAttributeKey.for_keyword(SearchAttribute.DIRECTION)


def track(
    direction: Direction, status: RunStatus | MessageStatus, account_id: str | None = None
) -> None:
    """Set the search attributes of this run; an ``account_id`` of None leaves the account as is."""
    if not workflow.patched(_PATCH):  # a run that began before there were any
        return
    updates = [_DIRECTION.value_set(direction), _STATUS.value_set(status)]
    if account_id is not None:
        updates.append(_ACCOUNT.value_set(account_id))
    workflow.upsert_search_attributes(updates)


@contextmanager
def failure_tracked(direction: Direction) -> Iterator[None]:
    """Set the status when the block fails or is cancelled; to be continued as new is neither."""
    try:
        yield
    except (Exception, asyncio.CancelledError) as error:
        cancelled = is_cancelled_exception(error)
        track(direction, RunStatus.CANCELLED if cancelled else RunStatus.FAILED)
        raise

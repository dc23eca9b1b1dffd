"""Steps that block a thread end between two mails, never within one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import pytest
from temporalio import activity
from temporalio.exceptions import CancelledError
from temporalio.testing import ActivityEnvironment

from activities.accounts import AccountActivities
from activities.callbacks import CallbackActivities
from activities.composing import ComposingActivities
from activities.filing import FilingActivities
from activities.mailbox import MailboxActivities
from activities.ports import FetchedMail
from activities.queueing import QueueActivities
from activities.reading import ReadingActivities
from activities.replication import fetching
from activities.sending import SendingActivities
from activities.subscriptions import SubscriptionActivities
from activities.webhooks import WebhookActivities
from models.names import ActivityName

_CLASSES = (
    AccountActivities,
    CallbackActivities,
    ComposingActivities,
    FilingActivities,
    MailboxActivities,
    QueueActivities,
    ReadingActivities,
    SendingActivities,
    SubscriptionActivities,
    WebhookActivities,
)


def test_nothing_is_raised_into_a_thread() -> None:
    """The SDK would raise at any instruction, also where an exception means an unreadable mail."""
    found = [
        activity._Definition.from_callable(function)
        for cls in _CLASSES
        for _, function in inspect.getmembers(cls, inspect.isfunction)
    ]
    defined = [definition for definition in found if definition]
    assert {definition.name for definition in defined} == set(ActivityName)
    for definition in defined:
        assert definition.is_async or definition.no_thread_cancel_exception, definition.name


def test_a_fetch_that_is_cancelled_ends_before_the_next_mail() -> None:
    environment = ActivityEnvironment()
    taken: list[int] = []

    def mails() -> Iterator[FetchedMail]:
        for uid in range(1, 10):
            taken.append(uid)
            if uid == 3:
                environment.cancel()
            yield FetchedMail(uid, b"x")

    def fetch() -> None:
        for _ in fetching._chunks(mails()):
            pass

    with pytest.raises(CancelledError):
        environment.run(activity.defn(no_thread_cancel_exception=True)(fetch))
    assert taken == [1, 2, 3]

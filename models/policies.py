"""Presets of timeouts and retries, one per kind of work. Workflows use these and invent none."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta

from temporalio.common import Priority, RetryPolicy
from temporalio.workflow import ActivityCancellationType, ActivityConfig

from models.errors import PERMANENT, ErrorType
from models.names import TaskQueue

_PATIENT = RetryPolicy(
    initial_interval=timedelta(seconds=1),
    maximum_interval=timedelta(minutes=1),
    non_retryable_error_types=PERMANENT,
)

_SILENCE = timedelta(seconds=10)
"""After this, a step that heartbeats is given to another worker: a crash costs seconds."""

# A database that is away for a while delays the work, it does not fail it.
STORE_WORK = ActivityConfig(
    task_queue=TaskQueue.CRYPTO,
    start_to_close_timeout=timedelta(minutes=2),
    heartbeat_timeout=_SILENCE,
    schedule_to_close_timeout=timedelta(days=5),
    retry_policy=_PATIENT,
)

# It ends by itself after a round; what it held when its worker died is taken over.
DRAIN = ActivityConfig(
    task_queue=TaskQueue.QUEUE,
    start_to_close_timeout=timedelta(hours=2),
    heartbeat_timeout=_SILENCE,
    schedule_to_close_timeout=timedelta(days=5),
    retry_policy=_PATIENT,
)

READ = ActivityConfig(
    task_queue=TaskQueue.CRYPTO,
    start_to_close_timeout=timedelta(seconds=30),
    schedule_to_close_timeout=timedelta(minutes=1),
    retry_policy=_PATIENT,
)

# Questions a person waits for: a second attempt, then the answer is the error. A server that was
# silent for all the time the account grants is not asked again.
ASK_SERVER = ActivityConfig(
    task_queue=TaskQueue.IMAP,
    start_to_close_timeout=timedelta(minutes=2),
    schedule_to_close_timeout=timedelta(minutes=4),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=300),
        maximum_attempts=2,
        non_retryable_error_types=(*PERMANENT, ErrorType.CONNECTION_TIMED_OUT.value),
    ),
)

# How often it is tried depends on what is wrong; the activity decides and says so.
OPEN_MAILBOX = ActivityConfig(
    task_queue=TaskQueue.IMAP,
    start_to_close_timeout=timedelta(minutes=10),
    schedule_to_close_timeout=timedelta(hours=1),
    heartbeat_timeout=_SILENCE,
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=200),
        backoff_coefficient=1.5,
        maximum_interval=timedelta(seconds=5),
    ),
)


# Short work that somebody may be waiting for goes before retrievals.
_SOON = Priority(priority_key=2)

# The activity itself says when it gives up.
VERIFY = ActivityConfig(
    task_queue=TaskQueue.IMAP,
    start_to_close_timeout=timedelta(minutes=15),
    schedule_to_close_timeout=timedelta(days=5),
    heartbeat_timeout=_SILENCE,
    retry_policy=_PATIENT,
    priority=_SOON,
)

# The mail is sent, and whoever sent it waits for this. The activity gives up after a few tries.
FILE_COPY = ActivityConfig(
    task_queue=TaskQueue.IMAP,
    start_to_close_timeout=timedelta(minutes=15),
    schedule_to_close_timeout=timedelta(minutes=30),
    heartbeat_timeout=_SILENCE,
    retry_policy=_PATIENT,
    priority=_SOON,
)


# What cannot be done now is done with the next drain of the queue.
TEND = ActivityConfig(
    task_queue=TaskQueue.IMAP,
    start_to_close_timeout=timedelta(minutes=30),
    heartbeat_timeout=_SILENCE,
    schedule_to_close_timeout=timedelta(hours=1),
    retry_policy=RetryPolicy(maximum_attempts=1),
)


def transmit(heartbeat_seconds: float, timeout_seconds: float) -> ActivityConfig:
    """One attempt, never repeated by Temporal: only the ledger knows whether it may be."""
    return ActivityConfig(
        task_queue=TaskQueue.SMTP,
        start_to_close_timeout=timedelta(seconds=timeout_seconds),
        heartbeat_timeout=timedelta(seconds=heartbeat_seconds),
        retry_policy=RetryPolicy(maximum_attempts=1),
    )


def post(heartbeat_seconds: float, timeout_seconds: float) -> ActivityConfig:
    """One request to a webhook; the workflow decides whether and when there is another one."""
    return ActivityConfig(
        task_queue=TaskQueue.CALLBACKS,
        # The request ends by itself; the rest is for the store.
        start_to_close_timeout=timedelta(seconds=timeout_seconds + 60),
        heartbeat_timeout=timedelta(seconds=heartbeat_seconds),
        retry_policy=RetryPolicy(maximum_attempts=1),
    )


def mailbox(heartbeat_seconds: float, patience_seconds: float) -> ActivityConfig:
    """Mailbox work inside a run: a server that went away is waited for."""
    return ActivityConfig(
        task_queue=TaskQueue.IMAP,
        start_to_close_timeout=timedelta(hours=6),
        schedule_to_close_timeout=timedelta(seconds=patience_seconds),
        heartbeat_timeout=timedelta(seconds=heartbeat_seconds),
        retry_policy=_PATIENT,
    )


def listen(heartbeat_seconds: float, renew_seconds: float) -> ActivityConfig:
    """A listener: it ends by itself to be renewed, and another worker takes over a lost one's."""
    return ActivityConfig(
        task_queue=TaskQueue.LISTEN,
        start_to_close_timeout=timedelta(seconds=renew_seconds * 2 + 600),
        heartbeat_timeout=timedelta(seconds=heartbeat_seconds),
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30)
        ),
        # A subscription that is stopped has closed its connection.
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


def callback_retry(max_attempts: int, interval_seconds: float) -> RetryPolicy:
    """Retries of a callback child; all attempts share its execution timeout."""
    return RetryPolicy(
        initial_interval=timedelta(seconds=interval_seconds),
        maximum_interval=timedelta(seconds=max(600.0, interval_seconds)),
        maximum_attempts=max_attempts,
    )


def doubling(first_seconds: float, last_seconds: float = 3600.0) -> list[float]:
    """Return gaps that double from the first to the last."""
    gaps = [first_seconds]
    while gaps[-1] < last_seconds:
        gaps.append(min(gaps[-1] * 2, last_seconds))
    return gaps


WAITS_SECONDS: tuple[float, ...] = (1, 2, 5, 10, 20, 40, 80, 160, 300)
"""Gaps between two looks for a free connection, or for the end of a pause, that fail in a row; the
hint that comes with the failure is longer at first. They bound the history of a mail that waits.
"""


def next_send_delay(
    attempts: int,
    delays: Sequence[float],
    *,
    jitter: float,
    cap: float,
    hint: float | None,
    rng: random.Random,
) -> timedelta:
    """Return the gap before attempt ``attempts + 1``.

    A server's hint is a lower bound; ``cap`` (seconds) binds everything, so that a wrong hint
    cannot park a mail.
    """
    base = delays[min(attempts, len(delays)) - 1]
    jittered = base * (1 + rng.uniform(-jitter, jitter))
    return timedelta(seconds=min(max(jittered, hint or 0.0), cap))

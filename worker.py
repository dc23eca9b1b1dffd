"""The worker: settings → adapters → activities → one Temporal worker per task queue. No logic."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions
from temporalio.workflow import SandboxImportNotificationPolicy

from activities.accounts import AccountActivities
from activities.callbacks import CallbackActivities
from activities.composing import ComposingActivities
from activities.errors import ErrorTranslation
from activities.filing import FilingActivities
from activities.limits import SendingLimits
from activities.listening.changes import AccountChanges
from activities.listening.listener import Listening
from activities.mail.imap import ImapConnector
from activities.mail.imap_idle import ImapWatcher
from activities.mail.incoming import IncomingConnector
from activities.mail.pop3 import Pop3Connector
from activities.mail.smtp import SmtpClient
from activities.mail.smtp_pool import SmtpPool
from activities.mailbox import MailboxActivities
from activities.ports import Metrics, Tracing
from activities.providers.registry import KNOWN, Providers
from activities.queueing import QueueActivities
from activities.reading import ReadingActivities
from activities.replication.fetching import Fetching
from activities.replication.opening import Opening
from activities.replication.settling import Settling
from activities.runs import TemporalRuns
from activities.sending import SendingActivities
from activities.sent.copies import SentCopies
from activities.sent.tending import Tending
from activities.sent.verification import Verification
from activities.slow_downs import SlowDowns
from activities.store.aside import Aside
from activities.store.assembly import Store, open_store
from activities.store.committer import Committer
from activities.store.queue_journal import QueueJournal
from activities.store.readers import Readers
from activities.store.uidls import UidlNumbering
from activities.subscription_runs import SubscriptionRuns
from activities.subscriptions import SubscriptionActivities
from activities.transmitting.drainer import Drainer
from activities.unwatched import NO_METRICS, NO_TRACING
from activities.web.client import WebClient
from activities.web.guard import EgressGuard
from activities.webhooks import WebhookActivities
from models import search_attributes
from models.connection import connect
from models.errors import ConnectorError
from models.names import TaskQueue
from models.settings import Settings
from models.wire import data_converter
from starter.host.backlog import backlog_watched
from starter.host.collector import spare_what_stays
from starter.host.crew import Crew
from starter.host.ending import told_to_stop
from starter.host.flagged import flagged_started
from starter.host.health import database_answers, health_served, temporal_answers
from starter.host.logs import configure
from starter.host.meter import metrics_of, open_runtime
from starter.host.reporting import StepReport
from starter.host.trace_switch import open_traces
from workflows._guard import InputGuard
from workflows.registry import FAILURES, WORKFLOWS

SANDBOX = SandboxRestrictions.default.with_import_notification_policy(
    SandboxImportNotificationPolicy.WARN_ON_DYNAMIC_IMPORT
    | SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
)
"""A workflow that forgets to pass an import through fails at start, with the module's name."""


@asynccontextmanager
async def running(
    settings: Settings,
    store: Store,
    client: Client,
    *,
    metrics: Metrics = NO_METRICS,
    tracing: Tracing = NO_TRACING,
    providers: Providers = KNOWN,
) -> AsyncIterator[None]:
    """Run all workers while the block runs; leaving stops them gracefully.

    Raises:
        ConnectorError: The namespace lacks our search attributes, and would not take them.
    """
    await search_attributes.register(client)
    committer = Committer(store.database, metrics)
    journal = QueueJournal(store.database)
    readers = Readers(store.database)
    runs = TemporalRuns(client, asyncio.get_running_loop())
    transport = SmtpClient(metrics=metrics, tracing=tracing)
    aside = Aside(store.database)
    limits = SendingLimits(aside, settings)
    pool = SmtpPool(transport, limits, SlowDowns(aside, settings))
    connector = IncomingConnector(
        ImapConnector(max_literal=settings.max_message_bytes, tracing=tracing),
        Pop3Connector(UidlNumbering(store.database), settings.max_message_bytes, tracing),
    )
    composing = ComposingActivities(
        store.database,
        store.accounts,
        store.content,
        store.callbacks,
        runs,
        settings,
        providers,
    )
    sending = SendingActivities(
        store.database,
        committer,
        readers,
        store.accounts,
        store.content,
        pool,
        settings,
        metrics,
    )
    drainer = Drainer(
        committer,
        journal,
        readers,
        store.accounts,
        store.content,
        pool,
        settings,
        metrics,
        providers,
    )
    queueing = QueueActivities(drainer, committer, readers, store.accounts, settings)
    verification = Verification(store.database, store.accounts, connector, providers)
    copies = SentCopies(store.database, store.accounts, store.content, connector)
    filing = FilingActivities(verification, copies, Tending(store.database, verification, copies))
    mailbox = MailboxActivities(
        store.database,
        store.accounts,
        connector,
        settings,
        opening=Opening(store.database, store.accounts, connector, runs, settings),
        fetching=Fetching(store.database, store.accounts, store.content, connector),
        settling=Settling(store.database, store.accounts, connector),
    )
    accounts = AccountActivities(store.database, readers, store.accounts, transport, connector)
    reading = ReadingActivities(store.database, store.links, store.accounts)
    callbacks = CallbackActivities(runs, store.database, store.callbacks)
    web = WebClient(
        EgressGuard(settings.egress_allow),
        ca_file=str(settings.ca_file) if settings.ca_file else None,
    )
    webhooks = WebhookActivities(store.database, committer, store.webhooks, web, runs, settings)
    changes = AccountChanges(readers, settings.listen_look_seconds)
    watcher = ImapWatcher(settings.listen_logins, tracing)
    listening = Listening(watcher, readers, store.accounts, changes, providers, settings)
    subscribed = SubscriptionRuns(client)
    subscriptions = SubscriptionActivities(readers, store.accounts, subscribed, listening, settings)
    grace = timedelta(seconds=settings.shutdown_seconds)

    def worker(
        queue: TaskQueue, activities: Sequence[Callable[..., Any]], concurrency: int
    ) -> Worker:
        return Worker(
            client,
            task_queue=queue,
            activities=activities,
            activity_executor=ThreadPoolExecutor(concurrency, thread_name_prefix=queue),
            max_concurrent_activities=concurrency,
            # The SDK's own limit, 80 % of the timeout, leaves a busy machine no slack.
            max_heartbeat_throttle_interval=timedelta(
                seconds=min(3, settings.heartbeat_timeout_seconds / 4)
            ),
            graceful_shutdown_timeout=grace,
            interceptors=[StepReport(), ErrorTranslation()],
        )

    workers = [
        Worker(
            client,
            task_queue=TaskQueue.ORCHESTRATION,
            workflows=WORKFLOWS,
            workflow_runner=SandboxedWorkflowRunner(restrictions=SANDBOX),
            interceptors=[InputGuard()],
            workflow_failure_exception_types=FAILURES,
            graceful_shutdown_timeout=grace,
        ),
        worker(
            TaskQueue.SMTP,
            [sending.transmit_delivery, accounts.check_outgoing],
            settings.smtp_concurrency,
        ),
        # Slots of its own: however much is queued, a mail that somebody waits for has room.
        worker(TaskQueue.QUEUE, [queueing.drain_queue], settings.queue_drains),
        worker(
            TaskQueue.IMAP,
            [
                mailbox.open_retrieval,
                mailbox.fetch_batch,
                mailbox.settle_batch,
                mailbox.list_folders,
                accounts.check_incoming,
                filing.verify_delivery,
                filing.tend_sent_folder,
                filing.file_sent_copies,
            ],
            settings.imap_concurrency,
        ),
        Worker(
            client,
            task_queue=TaskQueue.LISTEN,
            activities=[subscriptions.listen],
            max_concurrent_activities=settings.listen_concurrency,
            # Hundreds that have nothing to tell must not keep Temporal busy.
            max_heartbeat_throttle_interval=timedelta(
                seconds=settings.listen_heartbeat_seconds / 3
            ),
            graceful_shutdown_timeout=grace,
            interceptors=[StepReport(), ErrorTranslation()],
        ),
        worker(
            TaskQueue.CALLBACKS,
            [webhooks.attempt_webhook],
            settings.webhook_concurrency,
        ),
        worker(
            TaskQueue.CRYPTO,
            [
                composing.compose_message,
                sending.take_over_delivery,
                composing.watch_delivery,
                sending.settle_delivery,
                filing.file_sent_copies,  # to give up what no mailbox was asked for
                mailbox.close_retrieval,
                reading.read_message,
                reading.read_errors,
                callbacks.read_callback_state,
                callbacks.read_outcome,
                callbacks.record_callback_failure,
                webhooks.open_webhook,
                webhooks.close_webhook,
                subscriptions.open_subscription,
            ],
            settings.crypto_concurrency,
        ),
    ]
    crew = Crew(workers, settings.shutdown_seconds, connector.cut, drainer.finish)
    parts = {
        "temporal": temporal_answers(client),
        "database": database_answers(store.database),
        "pollers": crew.polls,
    }
    try:
        async with (
            aside,
            limits,
            pool,
            changes,
            health_served(settings.health_address, parts),
            backlog_watched(readers, metrics),
            crew.working(),
            flagged_started(readers, store.accounts, subscribed, settings),
        ):
            yield
    finally:
        watcher.close()
        web.close()
        journal.close()
        committer.close()
        readers.close()


async def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = Settings()
    configure(settings)
    runtime = open_runtime(settings)
    metrics = metrics_of(runtime, settings)
    traces = open_traces()
    store = open_store(settings, metrics)
    client = await connect(
        settings,
        data_converter(store.keys.payloads),
        runtime=runtime,
        interceptors=[traces.interceptor] if traces else [],
    )
    async with running(settings, store, client, metrics=metrics, tracing=traces or NO_TRACING):
        spare_what_stays()
        logging.getLogger("worker").info("worker ready")
        await told_to_stop(settings.shutdown_seconds)
    store.close()
    if traces:
        traces.close()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except ConnectorError as error:
        sys.stderr.write(f"{error.type}: {error.message}\n")
        sys.stderr.flush()
        # At once: a thread of the SDK may still be letting go of Temporal's last answer, which
        # would abort an interpreter that is taking itself apart.
        os._exit(1)

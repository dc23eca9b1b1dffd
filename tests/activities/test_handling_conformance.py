"""What every handling must do on every source: on the server, in the store, after a crash.

A new handling is added to ``Handling`` and to ``FINALLY``; a new source to ``SOURCES``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities.handling import HANDLINGS
from activities.store import inbox, mailboxes
from activities.store.assembly import Store, open_store
from models.errors import ErrorType
from models.mailbox import Handling
from models.settings import Settings
from tests.activities.handling_kit import Crash, Source, World, crash_once, store_settings
from tests.mail.imap_kit import minimal, raw, without_move
from tests.stores import Stores
from tools.servers.dovecot import Dovecot

__all__ = ["minimal", "without_move"]

MAILS = [raw(f"mail {number}") for number in range(1, 6)]

SOURCES = ("imap with move", "imap with copy", "imap without uidplus", "pop3")
SERVERS = {"imap with copy": "without_move", "imap without uidplus": "minimal"}
REFUSED = {
    ("imap without uidplus", Handling.REMOVE),
    ("imap without uidplus", Handling.MOVE),
    ("pop3", Handling.MOVE),
}
PAIRS = [(source, handling) for source in SOURCES for handling in Handling]
WORKING = [pair for pair in PAIRS if pair not in REFUSED]

FINALLY: dict[Handling, Callable[[list[bytes]], tuple[list[bytes], list[bytes]]]] = {
    Handling.NONE: lambda mails: (mails, []),
    Handling.REMOVE: lambda mails: ([], []),
    Handling.MOVE: lambda mails: ([], mails),
}
"""What is in INBOX and in Done once all ``mails`` are handled."""

STEPS: list[tuple[Any, str, int]] = [
    (inbox, "place", 1),
    (inbox, "place", 2),
    (mailboxes, "add_retrieval", 1),
    (mailboxes, "add_batch", 1),
    (mailboxes, "add_batch", 2),
    (mailboxes, "acknowledge", 1),
    (mailboxes, "begin_step", 1),
    (mailboxes, "check_lease", 1),
    (mailboxes, "mark_handled", 1),
    (mailboxes, "mark_handled", 2),
    (mailboxes, "settle", 1),
    (mailboxes, "settle", 3),
    (mailboxes, "end_retrieval", 1),
]
"""Before which commits the worker dies, and at which of their calls."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory, stores: Stores) -> Settings:
    return store_settings(tmp_path_factory.mktemp("store"), **stores.fresh())


@pytest.fixture(scope="module")
def store(settings: Settings) -> Iterator[Store]:
    opened = open_store(settings)
    yield opened
    opened.close()


Make = Callable[..., World]


@pytest.fixture
def make(request: pytest.FixtureRequest, store: Store, settings: Settings) -> Make:
    """Make an account with five mails on a source; keyword arguments are options."""

    def make(source: str, handling: Handling = Handling.NONE, **options: Any) -> World:
        server: Dovecot = request.getfixturevalue(SERVERS.get(source, "dovecot"))
        options |= {"handling": handling, "batch_size": 2}
        if handling is Handling.MOVE:
            options["move_folder"] = "Done"
        world = World(store, settings, Source(server, source.split()[0]), options)
        world.deliver(*MAILS)
        server.create_folder(world.user, "Done")
        return world

    return make


def left(world: World, folder: str) -> list[bytes]:
    return list(world.source.files(world.user, folder).values())


def assert_finished(world: World, handling: Handling, mails: list[bytes]) -> None:
    """All of ``mails`` are stored, were taken over once, and lie where they belong."""
    inbox_has, done_has = FINALLY[handling](mails)
    assert sorted(left(world, "INBOX")) == sorted(inbox_has)
    assert sorted(left(world, "Done")) == sorted(done_has)
    assert sorted(world.stored()) == sorted(mails)
    assert sorted(world.delivered) == sorted(mails)


def test_every_handling_is_here() -> None:
    assert set(FINALLY) == set(Handling) == set(HANDLINGS)


@pytest.mark.parametrize(("source", "handling"), WORKING)
def test_what_is_where_afterwards(make: Make, source: str, handling: Handling) -> None:
    world = make(source, handling, replicate_everything=True)
    before = world.server_state()
    handled = world.run()
    assert handled == (len(MAILS) if HANDLINGS[handling].changes_server else 0)
    assert_finished(world, handling, MAILS)
    assert world.delivered == MAILS
    if not HANDLINGS[handling].changes_server:
        assert world.server_state() == before


@pytest.mark.parametrize(("source", "handling"), WORKING)
def test_a_second_run_changes_nothing(make: Make, source: str, handling: Handling) -> None:
    world = make(source, handling, replicate_everything=True)
    world.run()
    before = world.server_state()
    assert world.run() == 0
    assert world.server_state() == before
    assert_finished(world, handling, MAILS)


@pytest.mark.parametrize(("source", "handling"), WORKING)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step[1]}-{step[2]}")
@pytest.mark.parametrize("again", ["the step again", "another run"])
def test_a_crash_between_two_steps(
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    handling: Handling,
    step: tuple[Any, str, int],
    again: str,
) -> None:
    """Whatever comes next repeats it, and leaves what an undisturbed run leaves."""
    world = make(source, handling, replicate_everything=True)
    calls = crash_once(monkeypatch, *step)
    crashed = True
    try:
        world.run(attempts=2 if again == "the step again" else 1)
        crashed = len(calls) >= step[2]
    except Crash:
        pass
    changes = HANDLINGS[handling].changes_server
    assert crashed is (changes or step[1] not in ("begin_step", "check_lease", "mark_handled"))
    monkeypatch.undo()
    world.run()
    assert_finished(world, handling, MAILS)
    before = world.server_state()
    assert world.run() == 0
    assert world.server_state() == before


@pytest.mark.parametrize(("source", "handling"), WORKING)
def test_applied_twice_it_leaves_the_same(
    make: Make, monkeypatch: pytest.MonkeyPatch, source: str, handling: Handling
) -> None:
    world = make(source, handling, replicate_everything=True)
    kind = type(HANDLINGS[handling])
    original = kind.apply

    def twice(self: Any, mailbox: Any, options: Any, uids: Any) -> None:
        original(self, mailbox, options, uids)
        original(self, mailbox, options, uids)

    monkeypatch.setattr(kind, "apply", twice)
    world.run()
    assert_finished(world, handling, MAILS)


@pytest.mark.parametrize(("source", "handling"), WORKING)
def test_mail_that_came_meanwhile_is_not_touched(
    make: Make, monkeypatch: pytest.MonkeyPatch, source: str, handling: Handling
) -> None:
    """Neither what arrives while a run is under way, nor what it was not to take."""
    world = make(source, handling, number_of_emails=2, fetch_strategy="oldest")
    late = raw("late")
    original = mailboxes.acknowledge

    def and_deliver(*arguments: Any) -> None:
        world.deliver(late)
        original(*arguments)

    monkeypatch.setattr(mailboxes, "acknowledge", and_deliver)
    world.run()
    inbox_has, done_has = FINALLY[handling](MAILS[:2])
    assert sorted(left(world, "INBOX")) == sorted([*inbox_has, *MAILS[2:], late])
    assert sorted(left(world, "Done")) == sorted(done_has)
    assert sorted(world.stored()) == sorted(MAILS[:2])


@pytest.mark.parametrize(("source", "handling"), WORKING)
@pytest.mark.parametrize("strategy", ["latest", "oldest"])
def test_strategies_take_what_is_left_in_their_order(
    make: Make, source: str, handling: Handling, strategy: str
) -> None:
    world = make(source, handling, number_of_emails=2, fetch_strategy=strategy)
    for _ in range(4):
        world.run()
    assert world.delivered == (MAILS if strategy == "oldest" else MAILS[::-1])
    assert_finished(world, handling, MAILS)
    late = raw("late")
    world.deliver(late)
    world.run()
    assert world.delivered[len(MAILS) :] == [late]


@pytest.mark.parametrize(("source", "handling"), sorted(REFUSED))
def test_what_a_source_cannot_do_is_refused_before_anything_is_fetched(
    make: Make, source: str, handling: Handling
) -> None:
    world = make(source, handling, replicate_everything=True)
    before = world.server_state()
    with pytest.raises(ApplicationError) as caught:
        world.run()
    assert (caught.value.type, caught.value.non_retryable) == (ErrorType.CAPABILITY_MISSING, True)
    assert "handling" in str(caught.value)
    assert world.server_state() == before
    assert world.stored() == world.delivered == []

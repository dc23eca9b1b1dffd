"""What is said during IDLE, in whatever pieces it comes."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.mail.imap_idle_dialogue import MAX_LINE, Dialogue, Goodbye, ViolationError

SAID = (
    b"+ idling\r\n* 4 EXISTS\r\n* 1 RECENT\r\n* 2 FETCH (FLAGS (\\Seen) X {5}\r\n* 9 E)\r\n"
    b"* 1 EXPUNGE\r\n* 5 exists\r\n* OK still here\r\nW1 OK done\r\n"
)


def dialogue(exists: int = 3) -> Dialogue:
    return Dialogue(exists, 10, 7)


@given(st.lists(st.integers(0, len(SAID)), max_size=12))
def test_the_pieces_do_not_matter(cuts: list[int]) -> None:
    heard = dialogue()
    edges = [0, *sorted(cuts), len(SAID)]
    for start, end in pairwise(edges):
        heard.feed(SAID[start:end])
    assert heard.invited
    # One of four came, one of them went, two more came: 3 → 4 → 3 → 5.
    assert (heard.exists, heard.arrived, heard.uid_next) == (5, 3, 13)
    assert heard.completed[b"W1"].word == "OK"


def test_removals_are_no_news() -> None:
    heard = dialogue()
    heard.feed(b"* 3 EXPUNGE\r\n* 2 EXISTS\r\n* 1 EXPUNGE\r\n* 1 EXISTS\r\n")
    assert (heard.exists, heard.arrived) == (1, 0)


def test_a_mail_that_replaced_another_is_seen_by_its_uid() -> None:
    heard = dialogue()
    heard.feed(b"* 3 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\n* OK [UIDNEXT 11] x\r\n")
    assert (heard.exists, heard.arrived) == (3, 1)


def test_uidnext_does_not_count_twice_what_exists_has_counted() -> None:
    heard = dialogue()
    heard.feed(b"* 5 EXISTS\r\n* OK [UIDNEXT 12] x\r\n")
    assert heard.arrived == 2


@pytest.mark.parametrize(
    "said",
    [
        b"x" * (MAX_LINE + 1),
        b"* OK " + b"x" * MAX_LINE + b"\r\n",
        b"* 1 FETCH (BODY {999999999}\r\n",
        b"220 mail.example.org ESMTP\r\n",
        b"\x16\x03\x01\r\n",
        b"* 1 RECENT\r\n" * 50_001,
    ],
)
def test_what_no_server_says(said: bytes) -> None:
    with pytest.raises(ViolationError):
        dialogue().feed(said)


def test_a_proof_of_life_starts_the_count_anew() -> None:
    heard = dialogue()
    for _ in range(3):
        heard.feed(b"* 1 RECENT\r\n" * 20_000)
        heard.proven()


def test_goodbye() -> None:
    with pytest.raises(Goodbye) as said:
        dialogue().feed(b"* BYE [UNAVAILABLE] restarting\r\n")
    assert said.value.status.code == "UNAVAILABLE"

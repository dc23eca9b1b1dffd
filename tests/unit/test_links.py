"""Links to content: ours, for one piece, for a while, with keys that change."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from activities.store.links import ContentLinks
from models.errors import ConnectorError, ErrorType

KEY = "b7c5.raw"
OLD, NEW = {"k1": os.urandom(32)}, {"k2": os.urandom(32)}


def links(keys: dict[str, bytes], seconds: int = 60, url: str = "http://h") -> ContentLinks:
    return ContentLinks(keys, url, timedelta(seconds=seconds))


def query_of(url: str) -> list[str]:
    query = parse_qs(urlsplit(url).query, strict_parsing=True)
    return [query[name][0] for name in ("key", "expires", "signature")]


def refused(judge: ContentLinks, key: str, *query: str) -> None:
    with pytest.raises(ConnectorError) as caught:
        judge.check(key, *query)
    assert caught.value.type is ErrorType.CONTENT_NOT_FOUND


def test_a_link_opens_its_piece_and_no_other() -> None:
    url, expires = links(OLD).sign(KEY)
    assert timedelta(seconds=58) < expires - datetime.now(UTC) <= timedelta(seconds=60)
    links(OLD).check(KEY, *query_of(url))
    for other in ("b7c5.text", "b7c5.raw.part.0", "B7C5.RAW", "", KEY + "\n"):
        refused(links(OLD), other, *query_of(url))


def test_a_base_may_have_a_path() -> None:
    url, _ = links(OLD, url="https://mail.example.org/connector/").sign(KEY)
    assert url.startswith(f"https://mail.example.org/connector/content/{KEY}?")


def test_keys_change_and_links_that_are_out_stay_good() -> None:
    before = query_of(links(OLD).sign(KEY)[0])
    after = query_of(links(NEW | OLD).sign(KEY)[0])
    assert (before[0], after[0]) == ("k1", "k2")
    links(NEW | OLD).check(KEY, *before)
    links(NEW | OLD).check(KEY, *after)
    refused(links(NEW), KEY, *before)  # retired
    refused(links(NEW | OLD), KEY, "k2", *before[1:])
    refused(links({"k1": NEW["k2"]}), KEY, *before)


def test_an_expired_link() -> None:
    refused(links(OLD), KEY, *query_of(links(OLD, seconds=-1).sign(KEY)[0]))


def test_every_changed_character_is_noticed() -> None:
    judge = links(OLD)
    query = query_of(judge.sign(KEY)[0])
    for part, value in enumerate(query):
        for position in range(len(value)):
            changed = list(query)
            other = "1" if value[position] != "1" else "2"
            changed[part] = value[:position] + other + value[position + 1 :]
            refused(judge, KEY, *changed)


@pytest.mark.parametrize(
    "expires", ["", "-1", "1e99", "0x7fffffff", " 9999999999", "٩٩٩٩٩٩٩٩٩٩", "9" * 5000, "nan", "0"]
)
def test_malformed_times(expires: str) -> None:
    judge = links(OLD)
    key_id, _, signature = query_of(judge.sign(KEY)[0])
    refused(judge, KEY, key_id, expires, signature)


@pytest.mark.parametrize("signature", ["", "0" * 64, "é" * 64, "\ud800", "0" * 100_000])
def test_malformed_signatures(signature: str) -> None:
    key_id, expires, _ = query_of(links(OLD).sign(KEY)[0])
    refused(links(OLD), KEY, key_id, expires, signature)
    refused(links(OLD), KEY, key_id, expires, query_of(links(OLD).sign(KEY)[0])[2].upper())

"""What is known of providers, and what follows from it for an account."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from activities.providers.gmail import GMAIL
from activities.providers.registry import KNOWN, PROFILES, Providers, profile_of
from models.account import AccountSettings
from models.provider import ProviderName


def account(
    smtp: str | None = "smtp.gmail.com",
    imap: str | None = "imap.gmail.com",
    *,
    protocol: str = "imaps",
    users: tuple[str, str] = ("a@example.org", "A@example.org"),
    **settings: Any,
) -> AccountSettings:
    sides: dict[str, Any] = {}
    if smtp is not None:
        sides["outgoing"] = {"host": smtp, "username": users[0]}
    if imap is not None:
        sides["incoming"] = {"host": imap, "username": users[1], "protocol": protocol}
    return AccountSettings.model_validate(
        {"name": "x", "email_address": "a@example.org", **sides, **settings}
    )


def test_each_name_has_one_profile_and_each_host_one_provider() -> None:
    assert [p.name for p in PROFILES] == list(ProviderName)
    hosts = [host for profile in PROFILES for host in profile.hosts]
    assert len(hosts) == len(set(hosts))
    assert all(profile.hosts for profile in PROFILES if profile.name != "generic")
    for profile in PROFILES:
        assert profile.mailbox_hosts or not profile.files_sent, profile.name


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("smtp.gmail.com", "gmail"),
        ("SMTP.Gmail.com.", "gmail"),
        ("smtp.office365.com", "microsoft365"),
        ("smtp-mail.outlook.com", "outlook_com"),
        ("smtp-relay.gmail.com", "generic"),
        ("smtp.gmail.com.example.org", "generic"),
        ("", "generic"),
    ],
)
def test_profiles_are_found_by_host(host: str, name: str) -> None:
    assert profile_of(host).name == name


def test_a_domain_stands_for_its_hosts_only() -> None:
    providers = Providers([replace(GMAIL, hosts=(".example.com",))])
    assert providers.at("a.example.com").name == "gmail"
    assert providers.at("aexample.com").name == "generic"
    assert providers.at("example.com").name == "generic"


def test_an_account_may_name_its_provider() -> None:
    named = account("relay.example.org", provider="yahoo")
    assert KNOWN.of(named).name is ProviderName.YAHOO
    assert KNOWN.of(account(smtp=None)).name is ProviderName.GENERIC
    with pytest.raises(ValidationError, match="provider"):
        account(provider="nobody")


@pytest.mark.parametrize(
    ("given", "keeps"),
    [
        (account(), True),
        # Sent through one provider, retrieved from another: its Sent folder tells nothing.
        (account(imap="imap.example.org"), False),
        (account(imap="imap.example.org", provider="gmail"), True),
        (account(users=("a@example.org", "b@example.org")), False),
        (account(users=("a@example.org", "b@example.org"), provider="gmail"), False),
        (account(imap=None), False),
        (account(smtp=None), False),
    ],
)
def test_whether_we_look_where_the_provider_files(given: AccountSettings, keeps: bool) -> None:
    assert KNOWN.keeps_mailbox_of(given) is keeps


@pytest.mark.parametrize(
    ("given", "ours"),
    [
        (account(), False),
        (account(sent_copy="always"), True),
        (account("smtp.example.org", "imap.example.org"), True),
        (account("smtp.example.org", "imap.example.org", sent_copy="never"), False),
        (account("smtp.example.org", None), False),
        (account("smtp.example.org", None, sent_copy="always"), False),
        (account("smtp.example.org", "pop.example.org", protocol="pop3s"), False),
    ],
)
def test_whose_the_copy_is(given: AccountSettings, ours: bool) -> None:
    assert KNOWN.copy_is_ours(given) is ours


def test_who_may_resend_what_is_absent() -> None:
    """Where this changes, mails may be sent twice: be certain."""
    assert {p.name for p in PROFILES if p.files_sent and p.keeps_message_id} == {ProviderName.GMAIL}

"""The options of ``send``, down to the input of the workflow that it starts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from temporalio.client import Client

from tests.starter.kit import Cli
from tools.temporal import DevServer

SEND = ("send", "--account", "Sales", "--to", "a@firm.example", "--text", "x", "--json")


async def _input_of(address: str, workflow_id: str) -> Any:
    client = await Client.connect(address)
    handle = client.get_workflow_handle(workflow_id)
    async for event in handle.fetch_history_events():
        payloads = event.workflow_execution_started_event_attributes.input.payloads
        (given,) = await client.data_converter.decode(payloads)
        await handle.terminate()
        return given
    raise AssertionError("no history")


def started(
    cli: Cli, server: DevServer, monkeypatch: pytest.MonkeyPatch, *options: str
) -> dict[str, Any]:
    """The mail that ``send`` hands to its workflow."""
    monkeypatch.setenv("EMAIL_CONNECTOR_TEMPORAL_ADDRESS", server.address)
    monkeypatch.setenv("EMAIL_CONNECTOR_PAYLOAD_ENCRYPTION", "off")
    answer = cli(*SEND, "--no-wait", *options)
    assert answer.code == 0, answer.out + answer.err
    given = asyncio.run(_input_of(server.address, answer.json["workflow_id"]))
    message: dict[str, Any] = given["message"]
    return message


def test_every_option_arrives(
    cli: Cli, temporal_server: DevServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = started(
        cli, temporal_server, monkeypatch,
        "--in-reply-to", "<b@x.example>", "--reference", "<a@x.example>",
        "--header", "X-Order: 4711", "--header", "Comments:a: b",
        "--list-unsubscribe", "https://x.example/leave",
        "--list-unsubscribe", "mailto:leave@x.example", "--one-click",
        "--auto-submitted", "auto-generated",
        "--notify", "success", "--notify", "delay", "--ret", "headers",
    )  # fmt: skip
    expected = {
        "in_reply_to": "<b@x.example>",
        "references": ["<a@x.example>"],
        "headers": {"X-Order": "4711", "Comments": "a: b"},
        "list_unsubscribe": {
            "url": "https://x.example/leave",
            "mailto": "mailto:leave@x.example",
            "one_click": True,
        },
        "auto_submitted": "auto-generated",
        "delivery_status": {"notify": ["success", "delay"], "ret": "headers"},
    }
    assert {name: message[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("option", "field"), [("--reply-of", "reply_of"), ("--forward-of", "forward_of")]
)
def test_a_stored_mail_is_answered(
    cli: Cli, temporal_server: DevServer, monkeypatch: pytest.MonkeyPatch, option: str, field: str
) -> None:
    assert started(cli, temporal_server, monkeypatch, option, "m-1")[field] == "m-1"


def test_nothing_is_said_that_was_not_asked_for(
    cli: Cli, temporal_server: DevServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = started(cli, temporal_server, monkeypatch)
    assert not any(
        message.get(name)
        for name in (
            "reply_of", "forward_of", "in_reply_to", "references", "headers", "list_unsubscribe",
            "auto_submitted", "delivery_status",
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("--header", "X-Order"), "message.headers"),
        (("--header", "X-A:1", "--header", "X-A:2"), "message.headers"),
        (("--header", "Bcc: a@firm.example"), "message.headers.Bcc"),
        (("--one-click",), "message.list_unsubscribe"),
        (("--list-unsubscribe", "ftp://x.example"), "message.list_unsubscribe.url"),
        (
            ("--list-unsubscribe", "https://a.example", "--list-unsubscribe", "https://b.example"),
            "message.list_unsubscribe",
        ),
        (("--notify", "never", "--notify", "delay"), "message.delivery_status.notify"),
        (("--in-reply-to", "b@x.example"), "message.in_reply_to"),
        (("--reply-of", "a", "--forward-of", "b"), "message.forward_of"),
    ],
)
def test_what_cannot_be_said_is_named(cli: Cli, options: tuple[str, ...], field: str) -> None:
    answer = cli(*SEND, *options)
    assert answer.code == 1
    assert (answer.json["error"]["type"], answer.json["error"]["field"]) == ("InvalidInput", field)

"""What callers are told of a mail, and how it is stored whom to tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic_core import to_json

from activities.crypto.keyring import load_keyring
from activities.crypto.secretbox import SecretBox
from activities.store.callbacks import StoredCallbacks
from models.callback import CallbackKind, CallbackSpec, SendCallbacks, WebhookSpec
from models.delivery import (
    DeliveryReport,
    MessageStatus,
    RecipientKind,
    RecipientResult,
    RecipientState,
)
from models.outcome import MAX_RECIPIENTS, EmailSent, SendFailed, due
from models.settings import Settings
from models.webhook import MAX_DATA_BYTES

TAKE = CallbackSpec(workflow="Take", task_queue="q", max_attempts=7)
HOOK = WebhookSpec(webhook="https://a.example/x?token=canary", max_attempts=7)
BOTH = SendCallbacks(on_email_sent=TAKE, on_send_failed=HOOK)
GOOD, BAD = CallbackKind.ON_EMAIL_SENT, CallbackKind.ON_SEND_FAILED


@pytest.mark.parametrize(
    ("status", "kinds"),
    [
        (MessageStatus.SENT, [GOOD]),
        (MessageStatus.PARTIALLY_SENT, [GOOD, BAD]),
        (MessageStatus.FAILED, [BAD]),
        (MessageStatus.UNKNOWN, [BAD]),
        (MessageStatus.CANCELLED, []),
        (MessageStatus.QUEUED, []),
        (MessageStatus.SENDING, []),
    ],
)
def test_who_is_told(status: MessageStatus, kinds: list[CallbackKind]) -> None:
    assert [kind for kind, _ in due(BOTH, status)] == kinds
    assert due(SendCallbacks(), status) == []


def result(number: int, state: RecipientState) -> RecipientResult:
    return RecipientResult(
        address=f"{'ö' * 31}{number:02}@{'a' * 63}.{'b' * 63}.{'c' * 63}.example",
        kind=RecipientKind.BCC,
        state=state,
        code=550,
        enhanced_code="5.7.1",
        reply="canary",
    )


def test_an_event_names_no_reply_and_fits_into_a_request() -> None:
    recipients = [result(n, RecipientState.SENT) for n in range(MAX_RECIPIENTS)]
    recipients += [result(n, RecipientState.FAILED) for n in range(50)]
    report = DeliveryReport(status=MessageStatus.PARTIALLY_SENT, recipients=recipients, attempts=3)
    for event in (
        EmailSent.of(report, message_id="m", internet_message_id="<m@x>", account_id="a"),
        SendFailed.of(report, message_id="m", internet_message_id="<m@x>", account_id="a"),
    ):
        assert event.counts == {"sent": 100, "failed": 50}
        assert len(event.recipients) == MAX_RECIPIENTS
        assert [r.state for r in event.recipients[:50]] == [RecipientState.FAILED] * 50
        written = to_json(event.model_dump(mode="json"))
        assert b"canary" not in written
        assert len(written) < MAX_DATA_BYTES


def test_a_token_in_a_url_is_sealed(tmp_path: Path) -> None:
    stored = StoredCallbacks(SecretBox(load_keyring(Settings(data_dir=tmp_path)).secrets))
    packed = stored.pack(BOTH)
    assert packed is not None
    assert packed["on_email_sent"]["workflow"] == "Take"
    assert "a.example" not in json.dumps(packed)
    assert "canary" not in json.dumps(packed)
    assert stored.unpack(json.loads(json.dumps(packed))) == BOTH
    assert stored.pack(SendCallbacks()) is None
    assert stored.pack(None) is None
    assert stored.unpack(None) == SendCallbacks()

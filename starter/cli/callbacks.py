"""Callbacks on the command line: WORKFLOW@QUEUE, or a URL."""

from __future__ import annotations

import re
from typing import Any

import typer

from models.callback import (
    Callback,
    CallbackKind,
    CallbackSpec,
    PayloadProtection,
    WebhookSpec,
)

_CALLBACK = re.compile(r"(?P<workflow>[^@]+)@(?P<queue>[^:]+)(?::(?P<payloads>plain|encrypted))?")


def callback_option(kind: CallbackKind, text: str) -> Any:
    """The option of a callback."""
    option = f"--{kind.replace('_', '-')}"
    return typer.Option(option, metavar="WORKFLOW@QUEUE or URL", help=text)


def callback_spec(text: str | None) -> Callback | None:
    """Return what such an option says."""
    if text is None:
        return None
    if "://" in text:
        return WebhookSpec(webhook=text)
    found = _CALLBACK.fullmatch(text)
    if found is None:
        raise typer.BadParameter(
            "write a callback as WORKFLOW@QUEUE, WORKFLOW@QUEUE:plain or WORKFLOW@QUEUE:encrypted, "
            "or as a URL: https://HOST/PATH"
        )
    return CallbackSpec(
        workflow=found["workflow"],
        task_queue=found["queue"],
        payloads=PayloadProtection(found["payloads"] or PayloadProtection.ENCRYPTED),
    )

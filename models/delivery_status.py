"""Delivery status notifications that a mail asks for (RFC 3461)."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from models.base import Request


class Notify(StrEnum):
    """What a server is to report about a recipient (RFC 3461 §4.1)."""

    SUCCESS = "success"
    FAILURE = "failure"
    DELAY = "delay"
    NEVER = "never"


class ReturnContent(StrEnum):
    """How much of the mail a report of failure brings back (RFC 3461 §4.3)."""

    FULL = "full"
    HEADERS = "headers"


class DeliveryStatus(Request):
    """Reports that a mail asks for; without ``notify`` the server does as it always does."""

    notify: list[Notify] = Field(default=[], max_length=3)
    ret: ReturnContent | None = None

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if not self.notify and self.ret is None:
            raise ValueError("notify: give notify or ret")
        if len(set(self.notify)) != len(self.notify):
            raise ValueError("notify: a value stands here twice")
        if Notify.NEVER in self.notify and len(self.notify) > 1:
            raise ValueError("notify: never goes with nothing else")
        return self

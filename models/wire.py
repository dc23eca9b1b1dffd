"""How values travel to and from Temporal: JSON by pydantic, AES-GCM codec, readable failures.

One place builds the data converter, so that worker, starter and codec endpoint always agree.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from google.protobuf.message import DecodeError
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.common import RawValue
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import (
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
    PayloadConverter,
)
from temporalio.exceptions import ApplicationError

from models.errors import ErrorType, bounded

ENCODING = b"binary/encrypted"
CIPHER = b"AES-256-GCM"
_PLAIN_MARK = "email-connector-payloads"
_NONCE_BYTES = 12
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,40}")
_MAX_DEPTH = 8


class ContractPayloadConverter(PydanticPayloadConverter):
    """JSON with typed errors: what cannot be read ends the workflow, it never blocks it.

    The SDK's default for an undecodable argument is to retry the workflow task for ever.
    """

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[type] | None = None
    ) -> list[Any]:
        """Decode ``payloads``; raises ``ApplicationError`` naming the offending field."""
        for payload in payloads:
            if payload.metadata.get("encoding") == ENCODING:
                raise _refusal(
                    ErrorType.PAYLOAD_UNREADABLE,
                    "the input is encrypted with a key this worker does not have",
                    "input",
                )
        try:
            return super().from_payloads(payloads, type_hints)
        except ValidationError as error:
            field, reason = first_problem(error)
            raise _refusal(ErrorType.INVALID_INPUT, reason, field) from None
        except (KeyError, ValueError, RuntimeError):
            # Unknown encoding or broken JSON without a type to blame.
            raise _refusal(
                ErrorType.PAYLOAD_UNREADABLE, "the input is not JSON this worker can read", "input"
            ) from None


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Return the field and the reason of a validation error, without any input value."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(_part(part) for part in problem["loc"][:_MAX_DEPTH]) or "input"
    reason = bounded(problem["msg"].removeprefix("Value error, "))
    head, _, tail = reason.partition(": ")
    if tail and head.isidentifier():  # our own validators name a deeper field this way
        field = f"{field}.{head}" if field != "input" else head
        reason = tail
    return field, reason


def _part(part: str | int) -> str:
    # The path stays readable, and a key of the caller's own may be anything, secrets included:
    # only what looks like a field name is repeated.
    return str(part) if isinstance(part, int) or _FIELD_NAME.fullmatch(part) else "?"


def _refusal(type: ErrorType, reason: str, field: str) -> ApplicationError:
    return ApplicationError(
        f"{field}: {reason}", {"field": field}, type=type.value, non_retryable=True
    )


class ReadableFailureConverter(DefaultFailureConverterWithEncodedAttributes):
    """Encrypts message and stack trace of a failure; its type and field name stay readable."""

    def to_failure(
        self, exception: BaseException, payload_converter: PayloadConverter, failure: Failure
    ) -> None:
        """Write ``exception`` into ``failure``."""
        super().to_failure(exception, payload_converter, failure)
        if isinstance(exception, ApplicationError) and exception.type:
            field = next((d["field"] for d in exception.details if _names_field(d)), None)
            failure.message = f"{exception.type}: {field}" if field else exception.type
            # Clients without our key stumble over a detail which they cannot decode.
            written = failure.application_failure_info.details.payloads
            for detail, payload in zip(exception.details, written, strict=False):
                if _names_field(detail) and len(detail) == 1:
                    payload.metadata[_PLAIN_MARK] = b"plain"


def _names_field(detail: Any) -> bool:
    return isinstance(detail, Mapping) and isinstance(detail.get("field"), str)


class AesGcmCodec(PayloadCodec):
    """Encrypts every payload with AES-256-GCM; the key's id stands in the metadata.

    Args:
        keys: 32-byte keys by id. The first one encrypts, all of them decrypt.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ValueError("the payload codec needs at least one key")
        self._ciphers = {key_id.encode(): AESGCM(key) for key_id, key in keys.items()}
        self._current = next(iter(self._ciphers))

    async def encode(self, payloads: Iterable[Payload]) -> list[Payload]:
        """Encrypt; what is marked plain (see ``plain``) passes as it is."""
        return [self._encrypt(p) for p in payloads]

    async def decode(self, payloads: Iterable[Payload]) -> list[Payload]:
        """Decrypt what we have the key for; the rest passes as it is.

        An unknown key must not fail here: that would block the workflow task for ever. The payload
        converter refuses it with a typed error instead.
        """
        return [self._decrypt(p) for p in payloads]

    def _encrypt(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") == ENCODING:
            return payload
        if _PLAIN_MARK in payload.metadata:
            bare = Payload()
            bare.CopyFrom(payload)
            del bare.metadata[_PLAIN_MARK]
            return bare
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ciphers[self._current].encrypt(nonce, payload.SerializeToString(), None)
        return Payload(
            metadata={
                "encoding": ENCODING,
                "encryption-cipher": CIPHER,
                "encryption-key-id": self._current,
            },
            data=nonce + sealed,
        )

    def _decrypt(self, payload: Payload) -> Payload:
        cipher = self._ciphers.get(payload.metadata.get("encryption-key-id", b""))
        if payload.metadata.get("encoding") != ENCODING or cipher is None:
            return payload
        try:
            clear = cipher.decrypt(payload.data[:_NONCE_BYTES], payload.data[_NONCE_BYTES:], None)
            return Payload.FromString(clear)
        except (InvalidTag, ValueError, DecodeError):  # damaged, or too short to hold anything
            return payload


def data_converter(keys: Mapping[str, bytes] | None) -> DataConverter:
    """Return the converter of this project.

    Args:
        keys: Payload keys, or None when payloads are encrypted elsewhere (or not at all).
    """
    converter = DataConverter(
        payload_converter_class=ContractPayloadConverter,
        failure_converter_class=ReadableFailureConverter,
    )
    return replace(converter, payload_codec=AesGcmCodec(keys)) if keys else converter


def plain(value: BaseModel) -> RawValue:
    """Return ``value`` as a payload the codec leaves readable, for callbacks without our key."""
    return RawValue(
        Payload(metadata={"encoding": b"json/plain", _PLAIN_MARK: b"plain"}, data=to_json(value))
    )

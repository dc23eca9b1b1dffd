"""What travels: encrypted payloads, rotated keys, failures that tell nothing but type and field."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter
from temporalio.exceptions import ApplicationError

from models.account import AccountSettings
from models.callback import CallbackSpec
from models.delivery import SendEmailInput
from models.errors import ErrorType
from models.mailbox import FetchCompleted, RetrieveEmailMessagesInput
from models.message import GetEmailMessageInput
from models.wire import AesGcmCodec, data_converter, first_problem, plain

OLD, NEW = {"old": os.urandom(32)}, {"new": os.urandom(32)}
EVENT = FetchCompleted(
    retrieval_id="r", account_id="a", folder="Größe", consumer="c", retrieved=1, batches=1
)


def clear(data: bytes = b'{"secret": "canary"}', encoding: bytes = b"json/plain") -> Payload:
    return Payload(metadata={"encoding": encoding}, data=data)


async def sealed(codec: AesGcmCodec, payload: Payload) -> Payload:
    (found,) = await codec.encode([payload])
    return found


async def opened(codec: AesGcmCodec, payload: Payload) -> Payload:
    (found,) = await codec.decode([payload])
    return found


class TestCodec:
    @given(data=st.binary(max_size=2000), name=st.binary(max_size=20))
    async def test_round_trip(self, data: bytes, name: bytes) -> None:
        codec = AesGcmCodec(NEW)
        payload = Payload(metadata={"encoding": b"json/plain", "more": name}, data=data)
        encrypted = await sealed(codec, payload)
        assert encrypted.metadata["encoding"] == b"binary/encrypted"
        assert encrypted.metadata["encryption-key-id"] == b"new"
        assert "more" not in encrypted.metadata
        assert await opened(codec, encrypted) == payload

    async def test_the_same_payload_never_looks_the_same(self) -> None:
        codec = AesGcmCodec(NEW)
        payloads = await codec.encode([clear()] * 50)
        assert len({p.data for p in payloads}) == 50
        assert all(b"canary" not in p.SerializeToString() for p in payloads)

    async def test_rotation(self) -> None:
        before, during, after = AesGcmCodec(OLD), AesGcmCodec(NEW | OLD), AesGcmCodec(NEW)
        written = await sealed(before, clear())
        assert await opened(during, written) == clear()
        rewritten = await sealed(during, clear())
        assert rewritten.metadata["encryption-key-id"] == b"new"
        assert await opened(after, rewritten) == clear()
        # An unknown key passes: failing here would block the workflow task for ever.
        assert await opened(after, written) == written

    async def test_damage_passes_too(self) -> None:
        codec = AesGcmCodec(NEW)
        for change in (b"", b"x", b"\x00" * 12):
            damaged = await sealed(codec, clear())
            damaged.data = change or damaged.data[:-1]
            assert await opened(codec, damaged) == damaged

    async def test_what_others_encrypted_is_not_encrypted_twice(self) -> None:
        written = await sealed(AesGcmCodec(OLD), clear())
        assert await sealed(AesGcmCodec(NEW), written) == written

    async def test_what_is_not_encrypted_passes(self) -> None:
        assert await opened(AesGcmCodec(NEW), clear()) == clear()

    async def test_marked_plain_stays_readable_and_loses_its_mark(self) -> None:
        marked = plain(EVENT).payload
        for codec in (AesGcmCodec(NEW), AesGcmCodec(OLD)):
            written = await sealed(codec, marked)
            assert dict(written.metadata) == {"encoding": b"json/plain"}
            assert json.loads(written.data)["folder"] == "Größe"
        # Anybody's default converter reads it.
        (read,) = DataConverter.default.payload_converter.from_payloads([written])
        assert read["retrieved"] == 1

    def test_it_needs_a_key(self) -> None:
        with pytest.raises(ValueError, match="at least one key"):
            AesGcmCodec({})
        assert data_converter(None).payload_codec is None


class TestReading:
    """What cannot be read is refused with a type; it never blocks a workflow."""

    @pytest.mark.parametrize(
        ("payload", "hint", "type", "field"),
        [
            (clear(b"{"), SendEmailInput, ErrorType.INVALID_INPUT, "input"),
            (clear(b""), SendEmailInput, ErrorType.INVALID_INPUT, "input"),
            (clear(b"{"), None, ErrorType.INVALID_INPUT, "input"),
            (clear(b"[1]"), SendEmailInput, ErrorType.INVALID_INPUT, "input"),
            (clear(b"{}", b"xml"), SendEmailInput, ErrorType.PAYLOAD_UNREADABLE, "input"),
            (clear(b"{}", b"xml"), None, ErrorType.PAYLOAD_UNREADABLE, "input"),
            (
                clear(b"\x00", b"binary/encrypted"),
                SendEmailInput,
                ErrorType.PAYLOAD_UNREADABLE,
                "input",
            ),
            (clear(b"\x00", b"binary/encrypted"), None, ErrorType.PAYLOAD_UNREADABLE, "input"),
            (clear(b'{"message_id": 5}'), GetEmailMessageInput, None, "message_id"),
            (clear(b'{"id": "x"}'), GetEmailMessageInput, None, "message_id"),
            (clear(b'{"message_id": "x", "y": 1}'), GetEmailMessageInput, None, "y"),
        ],
    )
    def test_refusals(
        self, payload: Payload, hint: type | None, type: ErrorType | None, field: str
    ) -> None:
        converter = data_converter(None).payload_converter
        with pytest.raises(ApplicationError) as caught:
            converter.from_payloads([payload], [hint] if hint else None)
        assert caught.value.type == (type or ErrorType.INVALID_INPUT)
        assert caught.value.non_retryable
        assert caught.value.details[0] == {"field": field}
        assert caught.value.__cause__ is None  # pydantic's own error would quote the input

    def test_models_are_read_and_written(self) -> None:
        converter = data_converter(None).payload_converter
        (payload,) = converter.to_payloads([EVENT])
        assert converter.from_payloads([payload], [FetchCompleted]) == [EVENT]
        assert converter.from_payloads([payload])[0]["folder"] == "Größe"


class TestFailures:
    @staticmethod
    async def written(error: BaseException) -> Failure:
        failure = Failure()
        await data_converter(NEW).encode_failure(error, failure)
        return failure

    async def test_type_and_field_are_readable_the_rest_is_not(self) -> None:
        error = ApplicationError(
            "to: the canary is malformed", {"field": "message.to"}, type="InvalidInput"
        )
        failure = await self.written(error)
        assert failure.message == "InvalidInput: message.to"
        assert failure.application_failure_info.type == "InvalidInput"
        assert failure.encoded_attributes.metadata["encoding"] == b"binary/encrypted"
        assert failure.stack_trace == ""
        assert b"canary" not in failure.SerializeToString()

        # With the key it is all there; without it, it is still an error that can be handled.
        read = await data_converter(NEW).decode_failure(failure)
        assert isinstance(read, ApplicationError)
        assert read.message == "to: the canary is malformed"
        assert read.details[0] == {"field": "message.to"}
        # Decoding changes what it is given.
        stranger = await DataConverter.default.decode_failure(await self.written(error))
        assert isinstance(stranger, ApplicationError)
        assert (stranger.type, stranger.message) == ("InvalidInput", "InvalidInput: message.to")
        assert stranger.details[0] == {"field": "message.to"}

    async def test_other_details_are_encrypted(self) -> None:
        for detail in (
            {"other": "canary"},
            {"field": "x", "value": "canary"},
            "canary",
            ["canary"],
        ):
            failure = await self.written(ApplicationError("canary", detail, type="Other"))
            assert failure.application_failure_info.type == "Other"
            assert b"canary" not in failure.SerializeToString()

    async def test_without_field_or_type(self) -> None:
        assert (await self.written(ApplicationError("canary", type="X"))).message == "X"
        for error in (ApplicationError("canary"), RuntimeError("canary"), ValueError("canary")):
            failure = await self.written(error)
            assert b"canary" not in failure.SerializeToString()

    async def test_causes_are_hidden_as_well(self) -> None:
        error = ApplicationError("canary", type="Outer")
        error.__cause__ = ApplicationError("canary", {"field": "inner"}, type="Inner")
        failure = await self.written(error)
        assert failure.cause.message == "Inner: inner"
        assert b"canary" not in failure.SerializeToString()


CANARY = "canary-0815"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.just(CANARY),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "content", "to", "workflow"]), inner, max_size=3)
    ),
    max_leaves=6,
)
MODELS: list[type[BaseModel]] = [
    SendEmailInput,
    RetrieveEmailMessagesInput,
    AccountSettings,
    CallbackSpec,
]


@st.composite
def documents(draw: st.DrawFn) -> tuple[type[BaseModel], dict[str, Any]]:
    """A model, and a document that has its fields, but hardly ever its types."""
    model = draw(st.sampled_from(MODELS))
    names = st.sampled_from([*model.model_fields, "message", "to", "subject"])
    document = draw(st.dictionaries(names, VALUES, max_size=4))
    if "message" in document:
        fields = ["to", "cc", "subject", "content", "attachments", "from_address"]
        document["message"] = draw(st.dictionaries(st.sampled_from(fields), VALUES, max_size=4))
    return model, document


@given(documents())
def test_a_problem_never_shows_the_input(case: tuple[type[BaseModel], dict[str, Any]]) -> None:
    model, document = case
    error = problem(model, document)
    if error is not None:
        field, reason = first_problem(error)
        assert field
        assert reason
        assert CANARY not in f"{field}{reason}{error}{error!r}"


def problem(model: type[BaseModel], document: dict[str, Any]) -> ValidationError | None:
    try:
        model.model_validate(document)
    except ValidationError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("model", "document", "field"),
    [
        (SendEmailInput, {}, "account"),
        (SendEmailInput, {"account": "a", "message": {"content": "x"}}, "message.to"),
        (SendEmailInput, {"account": "a", "message": {"to": "a@example.net"}}, "message.content"),
        (RetrieveEmailMessagesInput, {"account": "a", "batch_size": 0}, "batch_size"),
        (AccountSettings, {"name": "n", "email_address": "a@example.net"}, "outgoing"),
        (
            AccountSettings,
            {
                "name": "n",
                "email_address": "a@example.net",
                "incoming": {"host": "h", "protocol": "imaps", "security": "none"},
            },
            "incoming.username",
        ),
    ],
)
def test_the_field_is_named(model: type[BaseModel], document: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(document)
    assert first_problem(caught.value)[0] == field

"""What a log line shows: ids and types, of ours the sentence, of others the constant part."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from models.errors import ConnectorError, ErrorType
from starter.host.logs import JsonLines, PlainLines

ROOT = Path(__file__).parents[2]
OURS = str(ROOT / "activities" / "sending.py")
FOREIGN = "/usr/lib/python3/site-packages/library/module.py"
CANARY = "canary-in-a-text"


def line(
    message: str,
    *args: object,
    path: str = FOREIGN,
    error: BaseException | None = None,
    **more: Any,
) -> dict[str, Any]:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("some.logger", logging.WARNING, path, 7, message, args, info)
    record.__dict__.update(more)
    written = JsonLines().format(record)
    assert "\n" not in written
    found: dict[str, Any] = json.loads(written)
    plain = PlainLines().format(record)
    assert "\n" not in plain
    assert (CANARY in plain) == (CANARY in written)
    return found


def test_our_own_sentences_are_shown() -> None:
    found = line("a mail of %d octets", 5, path=OURS)
    assert found["message"] == "a mail of 5 octets"
    assert (found["level"], found["logger"]) == ("WARNING", "some.logger")


def test_of_a_library_only_the_template_is_shown() -> None:
    assert line("cannot open %s: %r", CANARY, CANARY)["message"] == "cannot open %s: %r"


@pytest.mark.parametrize("args", [(), (CANARY,)])
def test_a_text_without_a_constant_part_is_withheld(args: tuple[str, ...]) -> None:
    found = line("%s" if args else f"failed with {CANARY}", *args)
    assert found["message"] == "(text withheld) module:7"


def test_known_sentences_of_the_sdk_are_shown() -> None:
    assert line("Completing activity as failed")["message"] == "Completing activity as failed"


def test_a_line_stays_a_line() -> None:
    assert line("one\r\ntwo %s", "x", path=OURS)["message"] == "one\\r\\ntwo x"


def test_an_exception_is_its_type_and_its_frames() -> None:
    def fail() -> None:
        raise ValueError(CANARY)

    def wrap() -> None:
        try:
            fail()
        except ValueError as error:
            raise ConnectorError(ErrorType.FOLDER_NOT_FOUND, CANARY) from error

    with pytest.raises(ConnectorError) as caught:
        wrap()
    found = line("it failed", path=OURS, error=caught.value)
    assert CANARY not in json.dumps(found)
    assert [each["type"] for each in found["exceptions"]] == ["FolderNotFound", "ValueError"]
    frames = found["exceptions"][1]["frames"]
    assert frames[-1].endswith(" fail")
    assert frames[-1].startswith(f"{__name__}:")


def test_a_type_of_the_contract_is_told_and_no_other_text() -> None:
    ours = ApplicationError("x", type="CredentialsRejected")
    theirs = ApplicationError("x", type=CANARY)
    types = [line("x", path=OURS, error=e)["exceptions"][0]["type"] for e in (ours, theirs)]
    assert types == ["CredentialsRejected", "temporalio.exceptions.ApplicationError"]


def test_a_cause_that_was_hidden_stays_hidden() -> None:
    def hide() -> None:
        try:
            raise ValueError(CANARY)
        except ValueError:
            raise ConnectorError(ErrorType.INTERNAL, "x") from None

    with pytest.raises(ConnectorError) as caught:
        hide()
    assert len(line("x", path=OURS, error=caught.value)["exceptions"]) == 1


def test_only_ids_are_taken_from_what_a_line_carries() -> None:
    found = line("x", path=OURS, message_id="m-1", error_type="Timeout", subject=CANARY, raw=CANARY)
    assert (found["message_id"], found["error_type"]) == ("m-1", "Timeout")
    assert CANARY not in json.dumps(found)


def test_a_line_within_a_step_names_the_step() -> None:
    found = ActivityEnvironment().run(lambda: line("x", path=OURS))
    assert found["workflow_id"] == "test"
    assert found["run_id"] == "test-run"
    assert found["attempt"] == 1
    assert {"activity", "activity_id", "workflow_type", "queue"} <= found.keys()


_LOUD = f"""
import asyncio, logging, sys, threading, warnings
from starter.host.logs import configure
from models.settings import Settings
configure(Settings(log_format="json", log_level="debug"))
logging.getLogger("activities").info("hello")
warnings.warn("{CANARY}")
def fail():
    raise ValueError("{CANARY}")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
async def forgotten():
    asyncio.get_running_loop().call_soon(fail)
    await asyncio.sleep(0.01)
asyncio.run(forgotten())
fail()
"""


def test_whatever_python_reports_by_itself_is_reported_so() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _LOUD], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 1
    assert CANARY not in ended.stderr + ended.stdout
    lines = [json.loads(each) for each in ended.stderr.splitlines()]
    assert {"a thread ends", "the process ends"} <= {each["message"] for each in lines}
    types = [e["type"] for each in lines for e in each.get("exceptions", [])]
    assert types.count("ValueError") == 3

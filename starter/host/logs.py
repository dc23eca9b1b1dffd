"""Logs: ids and types, for people or as JSON lines; never the text of a failure.

Who wrote a line decides what is shown of it. Ours say only what may be said. A library's may quote
anything, so of those only the constant part is shown: its template without the values, or one of
the sentences known here. Of an exception its type and its frames are shown, never its message.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError
from temporalio.runtime import LogForwardingConfig, LoggingConfig, TelemetryFilter

from models.errors import ConnectorError, ErrorType, known_type
from models.settings import Settings

_ROOT: Final = Path(__file__).resolve().parents[2]
_PACKAGES: Final = ("activities", "models", "starter", "workflows")
_OURS: Final = frozenset({_ROOT / "worker.py", *(_ROOT / name for name in _PACKAGES)})
_KNOWN: Final = frozenset(
    {
        "Completing activity as failed",
        "Completing as failure due to unhandled cancel error produced by activity pause",
        "Completing as failure due to unhandled cancel error produced by activity reset",
        "Cancelling activity because failed recording heartbeat",
        "Failed completing activity task",
        "Worker failed, shutting down",
        "Worker cancelled, shutting down",
        "Unclosed client session",
    }
)
_WITHHELD: Final = "(text withheld)"
_IDS: Final = (
    "workflow_id",
    "run_id",
    "workflow_type",
    "activity",
    "activity_id",
    "attempt",
    "queue",
    "message_id",
    "delivery_id",
    "account_id",
    "retrieval_id",
    "batch_id",
    "folder_id",
    "webhook_id",
    "error_type",
    "outcome",
    "seconds",
)
"""What ``extra`` and the running step may add to a line."""
_MAX_FRAMES: Final = 30


def configure(settings: Settings) -> None:
    """Log to standard error as the settings say; takes over whatever was set up before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else PlainLines())
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    # What these append to a message stands in fields of its own.
    activity.logger.activity_info_on_message = False
    workflow.logger.workflow_info_on_message = False
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def core_logging() -> LoggingConfig:
    """The SDK's core logs through ours; what it adds to its sentences are values."""
    return LoggingConfig(
        filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=LogForwardingConfig(
            logger=logging.getLogger("temporal"),
            prepend_target_on_message=False,
            append_log_fields_to_message=False,
        ),
    )


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return json.dumps(fields(record), ensure_ascii=True, default=str)


class PlainLines(logging.Formatter):
    """For people: time, level, logger, message, then ``name=value``; one line a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        found = fields(record)
        words = [found.pop(name) for name in ("time", "level", "logger", "message")]
        words += [f"{name}={json.dumps(value, default=str)}" for name, value in found.items()]
        return " ".join(words)


def fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what is said of ``record``."""
    found: dict[str, Any] = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "logger": record.name,
        "message": _message(record),
    }
    ids = {**_step(), **record.__dict__}
    found |= {name: ids[name] for name in _IDS if ids.get(name) is not None}
    if record.exc_info and record.exc_info[1] is not None:
        found["exceptions"] = [describe(error) for error in _chain(record.exc_info[1])]
    return found


def _message(record: logging.LogRecord) -> str:
    if _is_ours(record.pathname):
        return _one_line(record.getMessage())
    text = record.msg if isinstance(record.msg, str) else ""
    if hasattr(record, "temporal_log"):
        return _one_line(text)  # a sentence of the SDK's core; the values are in fields
    if text in _KNOWN:
        return text
    template = text.replace("%s", "").replace("%r", "").strip()
    if record.args and template:
        return _one_line(text)
    return f"{_WITHHELD} {record.module}:{record.lineno}"


@lru_cache(maxsize=4096)
def _is_ours(path: str) -> bool:
    """Whether the code that wrote a line is this project's."""
    resolved = Path(path).resolve()
    return not _OURS.isdisjoint((resolved, *resolved.parents))


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")


def _step() -> dict[str, Any]:
    """The activity or workflow that this is about."""
    if activity.in_activity():
        running = activity.info()
        return {
            "workflow_id": running.workflow_id,
            "run_id": running.workflow_run_id,
            "workflow_type": running.workflow_type,
            "activity": running.activity_type,
            "activity_id": running.activity_id,
            "attempt": running.attempt,
            "queue": running.task_queue,
        }
    if workflow.in_workflow():
        about = workflow.info()
        return {
            "workflow_id": about.workflow_id,
            "run_id": about.run_id,
            "workflow_type": about.workflow_type,
            "attempt": about.attempt,
            "queue": about.task_queue,
        }
    return {}


# --- Exceptions ---------------------------------------------------------------------------------


def describe(error: BaseException) -> dict[str, Any]:
    """Return the type of an exception and where it came from; not what it says."""
    return {"type": type_of(error), "frames": list(_frames(error.__traceback__))[-_MAX_FRAMES:]}


def type_of(error: BaseException) -> str:
    """Return the type of the contract where there is one, else the class."""
    if known := contract_type(error):
        return known.value
    return f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")


def contract_type(error: BaseException) -> ErrorType | None:
    """Return the type of the contract that an exception has, if it has one."""
    if isinstance(error, ConnectorError):
        return error.type
    return known_type(error.type) if isinstance(error, ApplicationError) else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        hidden = following.__suppress_context__
        following = following.__cause__ or (None if hidden else following.__context__)


def _frames(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        frame = trace.tb_frame
        module = frame.f_globals.get("__name__", "?")
        yield f"{module}:{trace.tb_lineno} {frame.f_code.co_name}"
        trace = trace.tb_next


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    logging.getLogger(__name__).critical("the process ends", exc_info=(kind, error, trace))


def _log_uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    if given.exc_value is None or isinstance(given.exc_value, SystemExit):
        return
    trace = (given.exc_type, given.exc_value, given.exc_traceback)
    logging.getLogger(__name__).critical("a thread ends", exc_info=trace)


def ids_of(value: object) -> Mapping[str, str]:
    """Return the ids that an input names."""
    found = ((name, getattr(value, name, None)) for name in _IDS if name.endswith("_id"))
    return {name: id_ for name, id_ in found if isinstance(id_, str)}

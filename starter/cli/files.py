"""Reads what a command is given as a file."""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic import ValidationError

from models.account import AccountSettings
from models.errors import ConnectorError, ErrorType
from models.wire import first_problem


def invalid(error: ValidationError) -> ConnectorError:
    """Return a validation error as ``InvalidInput``, without any input value."""
    field, reason = first_problem(error)
    return ConnectorError(ErrorType.INVALID_INPUT, reason, field=field)


def read_text(name: str) -> str:
    """Read a UTF-8 text from a file, or from standard input for ``-``."""
    data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConnectorError(ErrorType.INVALID_INPUT, "the file is not UTF-8", field=name) from None


def read_settings(name: str) -> AccountSettings:
    """Read an account's settings from a JSON file, or from standard input for ``-``."""
    try:
        return AccountSettings.model_validate_json(read_text(name))
    except ValidationError as error:
        raise invalid(error) from None

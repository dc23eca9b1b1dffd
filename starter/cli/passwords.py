"""Passwords: asked for, read from standard input or from the environment; never an argument."""

from __future__ import annotations

import os
import sys

import typer
from pydantic import SecretStr

from activities.store.accounts import Secrets
from models.account import AccountSettings, LoginMethod
from models.errors import ConnectorError, ErrorType

VARIABLES = {
    "outgoing": "EMAIL_CONNECTOR_OUTGOING_PASSWORD",
    "incoming": "EMAIL_CONNECTOR_INCOMING_PASSWORD",
}


def sides_with_password(settings: AccountSettings) -> list[str]:
    """Return which servers of an account log in with a password."""
    servers = {"outgoing": settings.outgoing, "incoming": settings.incoming}
    return [side for side, s in servers.items() if s and s.login is LoginMethod.BASIC]


def from_stdin(sides: list[str]) -> Secrets:
    """Read the outgoing password from the first line, the incoming from the second.

    With one line it is the password of both.
    """
    lines = [line for line in sys.stdin.read().splitlines()[:2] if line]
    if not lines:
        raise _missing("standard input holds no password")
    return _secrets({side: lines[min(n, len(lines) - 1)] for n, side in enumerate(sides)})


def from_environment_or_prompt(sides: list[str]) -> Secrets:
    """Take each password from its environment variable, or ask for it."""
    found: dict[str, str] = {}
    for side in sides:
        found[side] = os.environ.get(VARIABLES[side]) or _asked(side, found.get("outgoing"))
    return _secrets(found)


def _interactive() -> bool:
    return sys.stdin.isatty()


def _asked(side: str, other: str | None) -> str:
    if not _interactive():
        raise _missing(f"the {side} server needs a password")
    same = " (leave empty to use the same)" if other else ""
    answer = typer.prompt(
        f"Password of the {side} server{same}",
        hide_input=True,
        err=True,
        default=other or "",
        show_default=False,
    )
    if not answer:
        raise _missing("the password is empty")
    return str(answer)


def _secrets(found: dict[str, str]) -> Secrets:
    return Secrets(**{side: SecretStr(password) for side, password in found.items()})


def _missing(reason: str) -> ConnectorError:
    names = " and ".join(VARIABLES.values())
    return ConnectorError(
        ErrorType.INVALID_INPUT,
        f"{reason}; pipe it in with --password-stdin, or set {names}",
        field="password",
    )

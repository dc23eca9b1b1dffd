"""`account`: add, list, show, edit, delete. They work on the store; nothing need run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import uuid4

import typer
from pydantic import ValidationError

from activities.store import messages
from activities.store.accounts import Secrets
from activities.store.assembly import Store
from models.account import (
    AccountSettings,
    EmailAccount,
)
from models.errors import ConnectorError, ErrorType
from starter.cli.account_defaults import with_following_port, with_usual_values
from starter.cli.account_flags import nested, with_account_flags
from starter.cli.confirming import YesFlag, confirmed
from starter.cli.files import invalid, read_settings
from starter.cli.passwords import from_environment_or_prompt, from_stdin, sides_with_password
from starter.connection import opened_store
from starter.output import JsonFlag, Output

app = typer.Typer(help="E-mail accounts.", no_args_is_help=True)

AccountArgument = Annotated[str, typer.Argument(help="Id or name of the account.")]
SettingsFlag = Annotated[
    str | None,
    typer.Option(
        "--settings",
        metavar="FILE",
        help="All settings as JSON instead of flags; - reads standard input.",
    ),
]
PasswordStdinFlag = Annotated[
    bool,
    typer.Option(
        "--password-stdin",
        help="Read passwords from standard input: first line outgoing, second incoming; one line "
        "is both.",
    ),
]

_COUNTED = 1000


@app.command("add")
@with_account_flags
def add(
    given: Mapping[str, object],
    settings: SettingsFlag = None,
    password_stdin: PasswordStdinFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Add an account.

    Passwords are asked for, or read with --password-stdin, or taken from
    EMAIL_CONNECTOR_OUTGOING_PASSWORD and EMAIL_CONNECTOR_INCOMING_PASSWORD.
    """
    output = Output(as_json)
    wanted = _from_file(settings, given, password_stdin) or _validated(
        with_usual_values(nested(given))
    )
    sides = sides_with_password(wanted)
    with opened_store() as store:
        _refuse_taken_name(store, wanted.name)
        secrets = _secrets(sides, password_stdin=password_stdin) if sides else Secrets()
        with store.database.write() as session:
            account = store.accounts.add(session, str(uuid4()), wanted, secrets)
    if as_json:
        output.document(account)
        return
    output.console.print(f"Account '{account.name}' added, id {account.id}.", style="green")
    output.console.print(f"Try its servers: python -m starter account check '{account.name}'")


@app.command("list")
def list_accounts(as_json: JsonFlag = False) -> None:
    """List all accounts."""
    output = Output(as_json)
    with opened_store() as store, store.database.read() as session:
        accounts = store.accounts.list(session)
    if as_json:
        output.document(accounts)
    elif not accounts:
        output.console.print("There is no account yet; 'account add --help' says how to add one.")
    else:
        output.table(
            "",
            ["name", "address", "outgoing", "incoming", "id"],
            [
                [a.name, a.email_address, _place(a.outgoing), _place(a.incoming), a.id]
                for a in accounts
            ],
        )


@app.command("show")
def show(account: AccountArgument, as_json: JsonFlag = False) -> None:
    """Show the settings of an account; passwords are never shown."""
    output = Output(as_json)
    with opened_store() as store:
        found = _get(store, account)
    if as_json:
        output.document(found)
        return
    output.facts(f"Account {found.name}", _facts(found.model_dump(mode="json")))


@app.command("edit")
@with_account_flags
def edit(
    account: AccountArgument,
    given: Mapping[str, object],
    settings: SettingsFlag = None,
    remove_smtp: Annotated[
        bool, typer.Option("--remove-smtp", help="Drop the outgoing server.")
    ] = False,
    remove_imap: Annotated[
        bool, typer.Option("--remove-imap", help="Drop the incoming server.")
    ] = False,
    new_password: Annotated[
        bool,
        typer.Option("--new-password", help="Ask for new passwords, or read the environment."),
    ] = False,
    password_stdin: PasswordStdinFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Change what is given and keep the rest; --settings replaces all settings.

    Passwords stay unless --new-password or --password-stdin is given.
    """
    output = Output(as_json)
    with opened_store() as store:
        found = _get(store, account)
        changes = dict(given)
        if remove_smtp:
            changes["outgoing"] = None
        if remove_imap:
            changes["incoming"] = None
        base = found.model_dump(exclude={"id", "created_at"})
        wanted = _from_file(settings, changes, password_stdin) or _validated(
            nested(with_following_port(changes, base), base)
        )
        if wanted.name != found.name:
            _refuse_taken_name(store, wanted.name)
        secrets = Secrets()
        sides = sides_with_password(wanted)
        if sides and (new_password or password_stdin):
            secrets = _secrets(sides, password_stdin=password_stdin)
        with store.database.write() as session:
            edited = store.accounts.edit(session, found.id, wanted, secrets)
    if as_json:
        output.document(edited)
    else:
        output.console.print(f"Account '{edited.name}' changed.", style="green")


@app.command("delete")
def delete(
    account: AccountArgument,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Delete an account with everything stored for it; mail on the servers is not touched."""
    output = Output(as_json)
    with opened_store() as store:
        found = _get(store, account)
        with store.database.read() as session:
            mails = len(messages.recent(session, account_id=found.id, limit=_COUNTED + 1))
        number = f"more than {_COUNTED}" if mails > _COUNTED else str(mails)
        what = (
            f"account '{found.name}' ({found.email_address}) with its passwords, its stored mail "
            f"in both directions ({number}), and how far each folder was replicated"
        )
        output.notes.print(f"This deletes {what}.", soft_wrap=True)
        output.notes.print(
            "Mail on the servers is not touched; runs in progress for the account will fail.",
            soft_wrap=True,
        )
        if not yes and not confirmed(output, "Delete it?", "to delete"):
            raise typer.Exit(1)
        with store.database.write() as session:
            large = store.accounts.large_content(session, found.id)
            deleted = store.accounts.delete(session, found.id)
        store.content.forget(large)
    if as_json:
        output.document({"deleted": {"id": deleted.id, "name": deleted.name, "messages": mails}})
    else:
        output.console.print(f"Account '{deleted.name}' deleted.", style="green")


def _from_file(
    name: str | None, given: Mapping[str, object], password_stdin: bool
) -> AccountSettings | None:
    if name is None:
        return None
    if given:
        raise typer.BadParameter("give either --settings or flags, not both")
    if name == "-" and password_stdin:
        raise typer.BadParameter("--settings - and --password-stdin both read standard input")
    return read_settings(name)


def _validated(values: dict[str, Any]) -> AccountSettings:
    try:
        return AccountSettings.model_validate(values)
    except ValidationError as error:
        raise invalid(error) from None


def _secrets(sides: list[str], *, password_stdin: bool) -> Secrets:
    return from_stdin(sides) if password_stdin else from_environment_or_prompt(sides)


def _get(store: Store, reference: str) -> EmailAccount:
    with store.database.read() as session:
        return store.accounts.get(session, reference)


def _refuse_taken_name(store: Store, name: str) -> None:
    """Refuse before anybody has typed a password; the store refuses it in any case."""
    with store.database.read() as session:
        taken = any(account.name == name for account in store.accounts.list(session))
    if taken:
        raise ConnectorError(ErrorType.INVALID_INPUT, "another account has this name", field="name")


def _place(server: Any) -> str:
    return f"{server.host}:{server.port} ({server.security})" if server else ""


def _facts(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    facts: dict[str, object] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            facts |= _facts(value, f"{prefix}{name}.")
        else:
            facts[f"{prefix}{name}"] = value
    return facts

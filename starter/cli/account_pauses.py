"""`account pause` and `account resume`. They work on the store; nothing need run."""

from __future__ import annotations

from typing import Annotated

import typer

from activities.store import operator
from starter.connection import opened_store
from starter.output import JsonFlag, Output

AccountArgument = Annotated[str, typer.Argument(help="Id or name of the account.")]


def pause(account: AccountArgument, as_json: JsonFlag = False) -> None:
    """Send nothing for an account until it is resumed; its mails wait."""
    output = Output(as_json)
    with opened_store() as store, store.database.write() as session:
        found = store.accounts.get(session, account)
        changed = operator.pause(session, found.id)
    if as_json:
        output.document({"account_id": found.id, "paused": True, "changed": changed})
        return
    was = "is paused" if changed else "was paused already"
    output.console.print(
        f"Account '{found.name}' {was}; go on with: account resume '{found.name}'", soft_wrap=True
    )


def resume(account: AccountArgument, as_json: JsonFlag = False) -> None:
    """Let an account send again, and the mails that were held until somebody mended it."""
    output = Output(as_json)
    with opened_store() as store, store.database.write() as session:
        found = store.accounts.get(session, account)
        released = operator.resume(session, found.id)
    if as_json:
        changed = {"changed": released is not None, "released": released or 0}
        output.document({"account_id": found.id, "paused": False, **changed})
    elif released is None:
        output.console.print(f"Account '{found.name}' was not paused.", soft_wrap=True)
    else:
        output.console.print(
            f"Account '{found.name}' sends again; {released} mails that were held go on.",
            soft_wrap=True,
        )

"""The whole command line, and what its errors look like."""

from __future__ import annotations

import traceback
from collections.abc import Sequence

import typer
from pydantic import ValidationError

from models.errors import ConnectorError, ErrorType
from models.wire import first_problem
from starter.cli import (
    account,
    account_pauses,
    account_servers,
    log,
    message,
    queue,
    queue_work,
    result,
    retrieve,
    runs,
    send,
    serve,
    store,
    subscription,
    system,
    temporal,
    webhook,
)
from starter.output import Output
from tools.servers.process import ServerError
from tools.temporal.resolve import TemporalNotFoundError

app = typer.Typer(
    help="Durable sending and receiving of e-mail.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
account.app.command("check")(account_servers.check)
account.app.command("folders")(account_servers.folders)
account.app.command("pause")(account_pauses.pause)
account.app.command("resume")(account_pauses.resume)
app.add_typer(account.app, name="account")
app.command("send")(send.send)
app.command("retrieve")(retrieve.retrieve)
app.add_typer(subscription.app, name="subscription")
app.add_typer(queue.app, name="queue")
queue.app.command("list")(queue_work.list_command)
queue.app.command("add")(queue_work.add)
queue.app.command("drain")(queue_work.drain)
queue.app.command("schedule")(queue_work.schedule)
queue.app.command("unschedule")(queue_work.unschedule)
app.add_typer(message.app, name="message")
app.add_typer(log.app, name="log")
app.add_typer(webhook.app, name="webhook")
app.add_typer(store.app, name="store")
app.command("result")(result.result)
app.command("serve")(serve.serve)
app.add_typer(runs.app, name="runs")
app.add_typer(temporal.app, name="temporal")
app.command("up")(system.up_command)
app.command("demo")(system.demo_command)


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns the exit code (1 = it failed, 2 = it was called wrongly)."""
    output = Output(as_json="--json" in arguments)
    try:
        code = app(args=list(arguments), prog_name="python -m starter", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.TyperException as error:
        text = getattr(error, "format_message", error.__str__)()
        if text or output.as_json:  # without one, the help was printed
            output.error("UsageError", f"{text or 'give a command'} (--help says how)")
        return getattr(error, "exit_code", 2)
    except typer.Abort:
        output.error("Aborted", "nothing was changed")
        return 1
    except ConnectorError as error:
        output.error(error.type, error.message, error.field)
        return 1
    except ValidationError as error:
        field, reason = first_problem(error)
        output.error(ErrorType.INVALID_INPUT, reason, field)
        return 1
    except (ServerError, TemporalNotFoundError) as error:
        output.error("StartFailed", str(error))
        return 1
    except OSError as error:
        output.error("FileError", error.strerror or type(error).__name__, error.filename)
        return 1
    except Exception as error:  # noqa: BLE001 (a program that reads our JSON must get JSON)
        # Its text may quote a mail or a secret; where it happened does not.
        place = traceback.extract_tb(error.__traceback__)[-1]
        output.error(
            ErrorType.INTERNAL,
            f"unexpected {type(error).__name__} at {place.name}:{place.lineno}; please report this",
        )
        return 1

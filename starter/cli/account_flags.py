"""The flags of `account add` and `account edit`: one per field of ``AccountSettings``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from models.account import IncomingProtocol, LoginMethod, Security, SentCopyRule, UnknownPolicy
from models.mailbox import FetchStrategy, Handling
from models.provider import ProviderName


@dataclass(frozen=True, slots=True)
class Flag:
    """An option and the field it sets, as a dotted path."""

    option: str
    path: str
    type: Any
    help: str
    panel: str

    @property
    def parameter(self) -> str:
        """Name of the parameter that carries it."""
        return self.path.replace(".", "_")


def _server(prefix: str, side: str, panel: str) -> Iterator[Flag]:
    no = f"--{prefix}-no-identity-check"
    for name, field, kind, text in (
        ("host", "host", str, "Name or address of the server."),
        ("port", "port", int, "Port; by default the usual one for the security."),
        ("security", "security", Security, "Protection of the connection."),
        ("login", "login", LoginMethod, "How to log in."),
        ("username", "username", str, "Login name; by default the e-mail address."),
        ("timeout-ms", "connection_timeout_ms", int, "Connection timeout in milliseconds."),
    ):
        yield Flag(f"--{prefix}-{name}", f"{side}.{field}", kind, text, panel)
    yield Flag(
        f"--{prefix}-identity-check/{no}",
        f"{side}.check_server_identity",
        bool,
        "Whether the server's certificate must be valid for its name.",
        panel,
    )


def _flags() -> Iterator[Flag]:
    account, smtp, imap = "Account", "Outgoing server", "Incoming server"
    yield Flag("--name", "name", str, "Name of the account in lists and commands.", account)
    yield Flag("--email", "email_address", str, "E-mail address of the account.", account)
    yield Flag("--full-name", "full_name", str, "Name in the From header.", account)
    yield from _server("smtp", "outgoing", smtp)
    yield Flag(
        "--max-send-attempts",
        "max_send_attempts",
        int,
        "Further attempts after the first (0 = none); by default until --give-up-after.",
        smtp,
    )
    yield Flag(
        "--give-up-after", "give_up_after_seconds", int, "Seconds until a mail is given up.", smtp
    )
    yield Flag(
        "--max-connections",
        "max_connections",
        int,
        "Connections at once, over all workers; by default what the provider is known to allow.",
        smtp,
    )
    yield Flag(
        "--unknown-policy",
        "unknown_policy",
        UnknownPolicy,
        "What to do when it is unknown whether the server took a mail.",
        smtp,
    )
    yield Flag(
        "--provider",
        "provider",
        ProviderName,
        "Whose servers these are; by default told by the outgoing server's host.",
        account,
    )
    yield Flag(
        "--sent-copy",
        "sent_copy",
        SentCopyRule,
        "Whether we put copies of sent mails into the Sent folder; 'auto' = unless the provider "
        "does.",
        smtp,
    )
    yield Flag(
        "--sent-folder",
        "sent_folder",
        str,
        "Folder of sent mails on a server that marks none as such.",
        smtp,
    )
    yield Flag("--imap-protocol", "incoming.protocol", IncomingProtocol, "Protocol.", imap)
    yield from _server("imap", "incoming", imap)
    for option, field, kind, text in (
        ("folder", "folder", str, "Folder to replicate."),
        ("number", "number_of_emails", int, "Mails per run."),
        ("strategy", "fetch_strategy", FetchStrategy, "Which mails come first."),
        (
            "everything/--imap-no-everything",
            "replicate_everything",
            bool,
            "Replicate the whole folder, oldest first.",
        ),
        ("batch-size", "batch_size", int, "Mails per batch and callback."),
        ("handling", "handling", Handling, "What happens to a mail on the server afterwards."),
        ("move-folder", "move_folder", str, "Existing folder for handling 'move'."),
        (
            "render-inline-images/--imap-no-render-inline-images",
            "render_inline_images",
            bool,
            "Show embedded images in the html.",
        ),
        (
            "sanitize/--imap-no-sanitize",
            "sanitize",
            bool,
            "Remove what could run or call home from the html.",
        ),
        (
            "subscribe/--imap-no-subscribe",
            "subscribe",
            bool,
            "Mark the account for notifications of new mail.",
        ),
    ):
        yield Flag(f"--imap-{option}", f"retrieval.{field}", kind, text, imap)


FLAGS = tuple(_flags())


def with_account_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` all flags; it gets those that were set as ``given``, by path."""

    @functools.wraps(command)
    def wrapper(**arguments: Any) -> None:
        found = {flag.path: arguments.pop(flag.parameter) for flag in FLAGS}
        given = {path: value for path, value in found.items() if value is not None}
        command(given=given, **arguments)

    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command, eval_str=True).parameters.items()
        if name != "given"
    ]
    flags = [
        inspect.Parameter(
            flag.parameter,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                flag.type | None,
                typer.Option(
                    flag.option, help=flag.help, rich_help_panel=flag.panel, show_default=False
                ),
            ],
        )
        for flag in FLAGS
    ]
    parameters = [*own, *flags]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def nested(given: Mapping[str, object], base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return ``base`` with the values at the given paths replaced."""
    result: dict[str, Any] = {**(base or {})}
    for path, value in given.items():
        outer, _, inner = path.partition(".")
        if inner:
            result[outer] = {**(result.get(outer) or {}), inner: value}
        else:
            result[outer] = value
    return result

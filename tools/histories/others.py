"""Cases of the workflows that only ask."""

from __future__ import annotations

from models.names import WorkflowType
from tools.histories.stage import Run, Stage, case, mail
from tools.servers.process import LOOPBACK, free_port


@case("GetEmailMessage/found")
async def _read(stage: Stage) -> Run:
    sent = await (await stage.end(WorkflowType.SEND_EMAIL, mail(stage.account()[0]))).result()
    return await stage.end(WorkflowType.GET_EMAIL_MESSAGE, {"message_id": sent["message_id"]})


@case("GetEmailMessage/missing")
async def _read_nothing(stage: Stage) -> Run:
    return await stage.end(WorkflowType.GET_EMAIL_MESSAGE, {"message_id": "nothing"})


@case("GetFolderNames/listed")
async def _folders(stage: Stage) -> Run:
    return await stage.end(WorkflowType.GET_FOLDER_NAMES, {"account": stage.mailbox(0)})


@case("GetFolderNames/unreachable")
async def _no_folders(stage: Stage) -> Run:
    server = {"host": LOOPBACK, "port": free_port(), "username": "x"}
    account, _ = stage.account(incoming=server)
    return await stage.end(WorkflowType.GET_FOLDER_NAMES, {"account": account})


@case("CheckServerConnection/passed")
async def _check(stage: Stage) -> Run:
    return await stage.end(WorkflowType.CHECK_SERVER_CONNECTION, {"account": stage.mailbox(0)})


@case("CheckServerConnection/failed")
async def _check_fails(stage: Stage) -> Run:
    account, _ = stage.account(password="wrong", outgoing=None)  # noqa: S106
    return await stage.end(WorkflowType.CHECK_SERVER_CONNECTION, {"account": account})


@case("SendMail/unknown_type")
async def _unknown_type(stage: Stage) -> Run:
    return await stage.end("SendMail", {"account": "x"})

"""Records a history for each workflow type and case: `python -m tools.record_histories`.

The test in `tests/replay` replays them with the workflows as they are now; a change that running
workflows could not follow fails there. Record only what is new (`KIND/CASE …`) and keep the old
ones: they stand for the workflows that are under way when a release comes.

Payloads are not encrypted, mails and addresses are made up, and what names this machine is removed.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import getpass
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from activities.store.assembly import open_store
from models.connection import connect
from models.settings import Settings
from models.wire import data_converter
from tools.histories import (
    others,
    outcomes,
    queueing,
    retrieving,
    sending,
    subscribing,
    webhooks,
)
from tools.histories.stage import CASES, Run, Stage
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot
from tools.servers.postfix import Postfix
from tools.servers.process import LOOPBACK
from tools.temporal import DevServer

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "tests" / "replay" / "histories"
MODULES = (sending, queueing, retrieving, subscribing, others, webhooks, outcomes)
"""Imported for the cases that they register."""


async def record(stage: Stage, names: Sequence[str]) -> None:
    """Play the cases and write their histories."""
    async with stage.working():
        for name in names:
            run: Run = await CASES[name](stage)
            write(FOLDER / f"{name}.json", (await run.fetch_history()).to_json(), run.id)
            sys.stdout.write(f"{name}\n")


def write(path: Path, history: str, workflow_id: str) -> None:
    """Write a history without anything that names this machine."""
    cleaned = {"workflowId": workflow_id, "history": without_traces(json.loads(history))}
    # What the SDK calls a worker; its own queue is named after it as well.
    identity = f"{os.getpid()}@{socket.gethostname()}"
    text = json.dumps(cleaned, indent=1, sort_keys=True).replace(identity, "worker") + "\n"
    for trace in (str(ROOT), f"@{socket.gethostname()}", f"{getpass.getuser()}@"):
        if trace in text or any(trace in inner for inner in _decoded(cleaned)):
            raise ValueError(f"{path.name} names this machine: {trace}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def without_traces(value: Any) -> Any:
    """Return a JSON document without stack traces, which hold paths."""
    if isinstance(value, list):
        return [without_traces(item) for item in value]
    if not isinstance(value, dict):
        return value
    cleaned = {key: without_traces(inner) for key, inner in value.items()}
    attributes = cleaned.get("encodedAttributes")
    if isinstance(attributes, dict) and "data" in attributes:
        inner = json.loads(base64.b64decode(attributes["data"]))
        data = json.dumps(inner | {"stack_trace": ""}).encode()
        cleaned["encodedAttributes"] = attributes | {"data": base64.b64encode(data).decode()}
    return cleaned


def _decoded(value: Any) -> list[str]:
    """The payloads in a history, in clear."""
    if isinstance(value, list):
        return [text for item in value for text in _decoded(item)]
    if not isinstance(value, dict):
        return []
    found = [text for item in value.values() for text in _decoded(item)]
    if isinstance(value.get("data"), str):
        found.append(base64.b64decode(value["data"]).decode("utf-8", "replace"))
    return found


def main() -> None:
    """Start everything, record, stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="KIND/CASE; all cases when none is given")
    names = parser.parse_args().names or list(CASES)
    # A short path that the servers' own users may enter.
    directory = Path(tempfile.mkdtemp(prefix="ec-", dir="/tmp"))
    directory.chmod(0o755)
    ca = TestCA(directory / "ca")
    # Few enough for a run to be carried on in a new one within a few batches.
    limits = {"limit.historyCount.suggestContinueAsNew": "50"}
    try:
        with ExitStack() as servers:
            temporal = servers.enter_context(
                DevServer(directory / "temporal", dynamic_config=limits)
            )
            dovecot = servers.enter_context(Dovecot(directory / "dovecot", ca.issue()))
            postfix = servers.enter_context(
                Postfix(
                    directory / "postfix",
                    ca.issue(),
                    lmtp_port=dovecot.lmtp_port,
                    auth_port=dovecot.auth_port,
                )
            )
            settings = Settings(
                data_dir=directory / "data",
                temporal_address=temporal.address,
                temporal_namespace="default",
                payload_encryption="off",
                ca_file=ca.ca_file,
                retry_delays_seconds=[0.5],
                shutdown_seconds=0.5,
                listen_heartbeat_seconds=5,
                listen_look_seconds=0.5,
                egress_allow=[LOOPBACK],
            )
            asyncio.run(_play(settings, dovecot, postfix, names))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _play(
    settings: Settings, dovecot: Dovecot, postfix: Postfix, names: Sequence[str]
) -> None:
    store = open_store(settings)
    client = await connect(settings, data_converter(None))
    await record(Stage(settings, store, client, dovecot, postfix), names)
    store.close()


if __name__ == "__main__":
    main()

"""The end of the process: asked for by a signal, and certain."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_MARGIN_SECONDS = 4
"""After the grace of running steps: for their last commits and for closing everything."""

_log = logging.getLogger(__name__)


async def told_to_stop(grace_seconds: float) -> None:
    """Wait for SIGTERM or SIGINT. Later ones change nothing: the end is under way, and certain.

    Args:
        grace_seconds: What running steps are given. If the process still exists four seconds
            after that (a database that hangs), it ends hard, with code 1. That is as safe as a
            crash: the ledger knows what is unknown.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
    for number in _SIGNALS:
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
    _log.info("told to stop: no new work is taken, running steps get %g s", grace_seconds)
    end = threading.Timer(grace_seconds + _MARGIN_SECONDS, _end_hard)
    end.daemon = True
    end.start()


def _end_hard() -> None:
    _log.critical("something does not end; the process ends hard, and the ledger labels the rest")
    logging.shutdown()
    os._exit(1)

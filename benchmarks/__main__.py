"""``python -m benchmarks [--rounds N] [--sends N] [--mails N]``: the main job beside its peers."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from benchmarks import receiving, results, sending
from benchmarks.product import product
from models.account import AccountSettings
from tools.servers.ca import TestCA
from tools.servers.dovecot import Dovecot
from tools.servers.smtp_sink import SmtpSink

_AT_ONCE = 20


async def run(folder: Path, rounds: int, sends: int, mails: int) -> dict[str, object]:
    """Alternate the product and its peers for ``rounds`` rounds; returns medians and ratios."""
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)
        sys.stderr.write(f"{name}: {value:.3f}\n")

    certificate = TestCA(folder / "ca").issue()
    with Dovecot(folder / "dovecot", certificate) as dovecot, SmtpSink(folder / "sink") as sink:
        size = receiving.fill(dovecot, "reader", mails, 16_000)
        outgoing = {"host": sink.host, "port": sink.port, "security": "none", "login": "none"}
        incoming = {
            "protocol": "imap",
            "host": "127.0.0.1",
            "port": dovecot.imap_port,
            "security": "none",
            "username": "reader",
        }
        sender = AccountSettings.model_validate(
            {"name": "sender", "email_address": "shop@example.org", "outgoing": outgoing}
        )
        reader = {"email_address": "reader@example.net", "incoming": incoming}
        accounts = {
            f"reader{n}": (
                AccountSettings.model_validate({"name": f"reader{n}", **reader}),
                dovecot.password,
            )
            for n in range(rounds + 1)
        }
        async with product(folder, {"sender": (sender, None), **accounts}) as running:
            await sending.interactive(running, sink, 20, _AT_ONCE)  # warm up
            await receiving.off_loop(receiving.raw_fetch, dovecot, "reader")
            for number in range(rounds):
                ours = await sending.interactive(running, sink, sends, _AT_ONCE)
                plain = await sending.aiosmtplib_plain(sink, sends, _AT_ONCE)
                one = await sending.interactive(running, sink, 20, 1)
                note("sends_per_second", ours["per_second"])
                note("aiosmtplib_per_second", plain["per_second"])
                note("send_p50_ms_alone", one["p50_ms"])
                note("send_p95_ms_alone", one["p95_ms"])
                count, seconds = await receiving.replicate(running, f"reader{number}", "default")
                if count != mails:
                    raise RuntimeError(f"{count} of {mails} mails were replicated")
                note("replicated_per_second", mails / seconds)
                _, seconds = await receiving.replicate(running, f"reader{number}", "default")
                note("noop_ms", seconds * 1000)
                copy = folder / f"mbsync{number}"
                copied = await receiving.off_loop(receiving.mbsync, dovecot, "reader", copy)
                note("mbsync_per_second", mails / copied)
                fetched = await receiving.off_loop(receiving.raw_fetch, dovecot, "reader")
                note("raw_fetch_per_second", mails / fetched)
            note("worker_peak_rss_mb", running.peak_rss_mb())
    middle = {name: results.median(values) for name, values in found.items()}
    return {
        "rounds": rounds,
        "sends": sends,
        "mails": mails,
        "mail_megabytes": round(size / 1e6, 1),
        **middle,
        "ratio_aiosmtplib": _ratio(middle, "sends_per_second", "aiosmtplib_per_second"),
        "ratio_mbsync": _ratio(middle, "replicated_per_second", "mbsync_per_second"),
        "ratio_raw_fetch": _ratio(middle, "replicated_per_second", "raw_fetch_per_second"),
    }


def _ratio(figures: dict[str, float], ours: str, theirs: str) -> float:
    return round(figures[ours] / figures[theirs], 3)


def main() -> None:
    """Measure and write ``benchmarks/results/main.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sends", type=int, default=200)
    parser.add_argument("--mails", type=int, default=2000)
    options = parser.parse_args()
    # Short and open to the servers' own users: they keep sockets there.
    folder = Path(tempfile.mkdtemp(prefix="ec-", dir="/tmp"))
    folder.chmod(0o755)
    # Kept until the end of all rounds: creating files soon after deleting many is slow on some
    # file systems, and would be charged to whoever comes next.
    figures = asyncio.run(run(folder, options.rounds, options.sends, options.mails))
    path = results.write("main", figures)
    sys.stderr.write(f"written to {path}\n")


if __name__ == "__main__":
    main()

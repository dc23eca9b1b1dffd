"""``python -m benchmarks.peers.post_office_queue fill MAILS | drain PROCESSES LOG_LEVEL LOCK``.

django-post_office: mails are built from rows of its queue, several at once, by threads.
"""

from __future__ import annotations

import json
import os
import sys
import time

import django

from benchmarks import letter

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.peers.post_office_settings"
django.setup()

# Models exist once Django is set up.
from django.core.management import call_command  # noqa: E402
from post_office import mail  # noqa: E402
from post_office.models import STATUS, Email, Log  # noqa: E402


def fill(mails: int) -> dict[str, float]:
    """Queue ``mails`` mails in place of all that are there."""
    call_command("migrate", verbosity=0)
    Log.objects.all().delete()
    Email.objects.all().delete()
    mail.send_many(
        [
            {
                "recipients": letter.recipient(number),
                "sender": letter.SENDER,
                "subject": letter.subject(number),
                "message": letter.TEXT,
                "html_message": letter.HTML,
            }
            for number in range(mails)
        ]
    )
    return {"queued": Email.objects.filter(status=STATUS.queued).count()}


def drain(processes: int, log_level: int, lock: str) -> dict[str, float]:
    """Send them; the start of Python and Django is not counted."""
    started = time.perf_counter()
    call_command("send_queued_mail", processes=processes, log_level=log_level, lockfile=lock)
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "sent": Email.objects.filter(status=STATUS.sent).count()}


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "fill":
        answer = fill(int(arguments[0]))
    else:
        answer = drain(int(arguments[0]), int(arguments[1]), arguments[2])
    sys.stdout.write(json.dumps(answer) + "\n")

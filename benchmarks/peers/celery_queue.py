"""Celery over Redis, a task a mail; ``python -m benchmarks.peers.celery_queue MAILS`` fills it.

The worker is Celery's own: ``celery -A benchmarks.peers.celery_queue worker``. A task builds its
mail and connects for it, as such tasks do.
"""

from __future__ import annotations

import json
import os
import smtplib
import sys
from email.message import EmailMessage

from celery import Celery

from benchmarks import letter

app = Celery("benchmark", broker=f"redis://127.0.0.1:{os.environ['PEER_REDIS_PORT']}/0")
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


@app.task(name="send_mail")
def send_mail(to: str, subject: str, text: str, html: str) -> None:
    """Build and send one mail."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = letter.SENDER, to, subject
    mail.set_content(text)
    mail.add_alternative(html, subtype="html")
    with smtplib.SMTP("127.0.0.1", int(os.environ["PEER_SMTP_PORT"]), timeout=30) as server:
        server.send_message(mail)


if __name__ == "__main__":
    count = int(sys.argv[1])
    for number in range(count):
        send_mail.delay(letter.recipient(number), letter.subject(number), letter.TEXT, letter.HTML)
    sys.stdout.write(json.dumps({"queued": count}) + "\n")

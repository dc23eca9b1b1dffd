"""The mail of the sending benchmarks: text and HTML, 3 KB as it goes over the wire.

Peers' programs import this too, so it stands on the standard library alone.
"""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP

SENDER = "shop@example.org"
TEXT = "Your order is on its way, and you can follow it with the number below.\n" * 15
HTML = (
    "<html><body>\n"
    + "<p>Your order is on its way, and you can follow it with <b>the number</b>.</p>\n" * 18
    + "</body></html>\n"
)


def recipient(number: int) -> str:
    """Whom the mail of a number goes to."""
    return f"reader{number}@example.net"


def subject(number: int) -> str:
    """What the mail of a number is about."""
    return f"Your order {number} has been sent"


def ready(number: int, sender: str = SENDER) -> bytes:
    """The mail of a number, ready to be sent."""
    mail = EmailMessage(policy=SMTP)
    mail["From"], mail["To"] = sender, recipient(number)
    mail["Subject"] = subject(number)
    mail["Date"] = "Sun, 22 Nov 2026 10:00:00 +0000"
    mail["Message-ID"] = f"<{number}.{sender}>"
    mail.set_content(TEXT)
    mail.add_alternative(HTML, subtype="html")
    mail.set_boundary("letter")
    return mail.as_bytes()

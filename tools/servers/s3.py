"""S3: moto's server, spoken to over HTTP on a loopback port. It keeps everything in memory."""

import sys
import urllib.error
import urllib.request
from pathlib import Path
from uuid import uuid4

from tools.servers.process import LOOPBACK, ChildServer, free_port


class S3Server(ChildServer):
    """An S3 service; a context manager. Any key is let in until `refuse_everybody`."""

    name = "s3"
    start_timeout = 60.0  # it loads the models of all of AWS

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.secret_key = f"secret-{uuid4().hex}"

    @property
    def address(self) -> str:
        """The endpoint's URL."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which a client finds it."""
        return {
            "AWS_ENDPOINT_URL": self.address,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }

    def create_bucket(self, name: str) -> str:
        """Create a bucket and return its URL."""
        self._request("PUT", f"/{name}")
        return f"s3://{name}"

    def refuse_everybody(self) -> None:
        """Let nobody in from now on: there are no users."""
        self._request("POST", "/moto-api/reset-auth", b"0")

    def admit_everybody(self) -> None:
        """Let everybody in again, whatever the key."""
        self._request("POST", "/moto-api/reset-auth", str(sys.maxsize).encode())

    def _prepare(self) -> None:
        """Nothing to write."""

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", LOOPBACK, "-p", str(self.port)]

    def _ready(self) -> bool:
        try:
            self._request("GET", "/moto-api/")
        except (OSError, urllib.error.URLError):
            return False
        return True

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        url, headers = f"{self.address}{path}", {"Content-Type": "text/plain"}
        request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310 - our own
        # No proxy stands between loopback and loopback.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            content: bytes = answer.read()
        return content

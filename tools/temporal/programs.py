"""Temporal's server, its schema tool and its UI as programs of their own: what a cluster runs.

Nobody offers them as a download for every machine, so they are built from the Go module in this
folder, once, into the cache beside the CLI. Most of what they are made of is compiled for the CLI
already.
"""

from dataclasses import dataclass
from pathlib import Path

from tools.temporal.binary import cached_binary, pinned, version_text
from tools.temporal.build import build_package
from tools.temporal.resolve import Report, TemporalNotFoundError, only_one, report_to_stderr


@dataclass(frozen=True)
class Program:
    """A command of the module, under the name that its container image gives it."""

    name: str
    module: str
    package: str

    @property
    def path(self) -> Path:
        """Where our copy belongs, whether or not it is there."""
        return cached_binary().with_name(f"{self.name}-{pinned(self.module)}")

    def find(self, report: Report = report_to_stderr) -> Path:
        """Return its path, building it when needed.

        Raises:
            TemporalNotFoundError: when it cannot be built.
        """
        if self.path.is_file():
            return self.path
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with only_one(self.path.parent / ".lock", report):
            if self.path.is_file():  # another process was first
                return self.path
            report(f"building {self.name} with Go")
            reason = build_package(self.package, self.path, report, works=_answers)
        if reason is not None:
            raise TemporalNotFoundError(f"no {self.name}: {reason}")
        return self.path


SERVER = Program("temporal-server", "go.temporal.io/server", "go.temporal.io/server/cmd/server")
SQL_TOOL = Program(
    "temporal-sql-tool", "go.temporal.io/server", "go.temporal.io/server/cmd/tools/sql"
)
UI_SERVER = Program(
    "ui-server",
    "github.com/temporalio/ui-server/v2",
    "github.com/temporalio/ui-server/v2/cmd/server",
)
PROGRAMS = (SERVER, SQL_TOOL, UI_SERVER)


def _answers(path: Path) -> bool:
    return version_text(path) is not None

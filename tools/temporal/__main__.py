"""Print the path of the Temporal CLI: `python -m tools.temporal`.

`python -m tools.temporal programs` prints those of the server, the schema tool and the UI.
"""

import sys

from tools.temporal.programs import PROGRAMS
from tools.temporal.resolve import TemporalNotFoundError, resolve


def main() -> int:
    """Resolve; the paths go to standard output, everything else to standard error."""
    try:
        paths = (
            [program.find() for program in PROGRAMS]
            if sys.argv[1:] == ["programs"]
            else [resolve()]
        )
    except TemporalNotFoundError as error:
        sys.stderr.write(f"temporal: {error}\n")
        return 1
    sys.stdout.writelines(f"{path}\n" for path in paths)
    return 0


if __name__ == "__main__":
    sys.exit(main())

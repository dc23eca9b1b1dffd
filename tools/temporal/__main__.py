"""Print the path of the Temporal CLI: `python -m tools.temporal`."""

import sys

from tools.temporal.resolve import TemporalNotFoundError, resolve


def main() -> int:
    """Resolve the CLI; the path goes to standard output, everything else to standard error."""
    try:
        path = resolve()
    except TemporalNotFoundError as error:
        sys.stderr.write(f"temporal: {error}\n")
        return 1
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

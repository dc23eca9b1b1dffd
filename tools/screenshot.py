"""Takes the picture of the README: `python -m tools.screenshot` beside a running `up`.

Give what `up` printed: the link that signs in, and the page of a run.
"""

import argparse
import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

_TARGET = Path(__file__).resolve().parents[1] / "docs" / "images" / "decrypted-run.png"
_TEXT_OF_EVERY_RESULT = '"status"'


def main() -> int:
    """Take the picture and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.screenshot", description=__doc__)
    parser.add_argument("sign_in", help="the link that signs a browser in")
    parser.add_argument("run", help="the page of a run of SendEmail in Temporal's UI")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        page = browser.new_page(viewport={"width": 1280, "height": 760})
        page.goto(options.sign_in)
        page.wait_for_url("**/workflows**")
        page.goto(options.run)
        page.get_by_text(_TEXT_OF_EVERY_RESULT).first.wait_for()
        page.mouse.move(0, 0)
        page.screenshot(path=_TARGET)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""
The services that tests start for themselves, and whether they are installed.

``python -m tests.services`` says what is missing. A missing one skips its tests, loudly, unless
``CHATSESSIONS_REQUIRE_SERVICES=1`` says that it is a failure.
"""

from __future__ import annotations

import os
import shutil
import sys

#: A command, and what is skipped without it.
SERVICES = {
    "chromium": "the tests of the page",
    "node": "the tests of the JavaScript modules",
}


def missing() -> dict[str, str]:
    """The services that are not installed, and what cannot be tested for it."""
    return {name: what for name, what in SERVICES.items() if shutil.which(name) is None}


def required() -> bool:
    """Whether a missing service is a failure."""
    return os.environ.get("CHATSESSIONS_REQUIRE_SERVICES") == "1"


if __name__ == "__main__":
    for command, what in missing().items():
        sys.stderr.write(f"WARNING: {command} is not installed: {what} will be skipped.\n")
    sys.exit(1 if missing() and required() else 0)

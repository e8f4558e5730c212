"""
The services that tests start for themselves, and whether they are installed.

``python -m tests.services`` says what is missing. A missing one skips its tests, loudly, unless
``CHATSESSIONS_REQUIRE_SERVICES=1`` says that it is a failure.
"""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

import pytest

#: A command, and what is skipped without it.
SERVICES = {
    "chromium": "the tests of the page",
    "node": "the tests of the JavaScript modules",
    "postgres": "the tests of many workers",
    "redis-server": "the tests of many workers",
    "nginx": "the documented configuration of nginx",
    "systemd-analyze": "the documented units of systemd",
}

#: What is tried where it is there: a machine without it tests all of the project's own code.
OPTIONAL = {"nginx", "systemd-analyze"}

#: Where Debian puts PostgreSQL's own commands, which are in nobody's PATH.
POSTGRES_FOLDERS = "/usr/lib/postgresql/*/bin"
#: Where it puts daemons, which are in root's alone.
DAEMONS = "/usr/sbin"


def find(name: str) -> Path | None:
    """A command, of its newest version."""
    found = shutil.which(name) or shutil.which(name, path=DAEMONS)
    if found is not None:
        return Path(found)
    there = [path / name for path in Path("/").glob(POSTGRES_FOLDERS.lstrip("/"))]
    versions = [path for path in there if path.exists()]
    return max(versions, key=lambda path: float(path.parent.parent.name), default=None)


def missing() -> dict[str, str]:
    """The services that are not installed, and what cannot be tested for it."""
    return {name: what for name, what in SERVICES.items() if find(name) is None}


def required() -> bool:
    """Whether a missing service is a failure."""
    return os.environ.get("CHATSESSIONS_REQUIRE_SERVICES") == "1"


def lack(message: str, *, optional: bool = False) -> NoReturn:
    """Skip the running test for what is not installed, or fail it where that is required."""
    if required() and not optional:
        pytest.fail(message)
    pytest.skip(message)


def need(name: str) -> None:
    """Do as :func:`lack` does unless this service is installed."""
    if find(name) is None:
        message = f"{name} is not installed: {SERVICES[name]} cannot run"
        lack(message, optional=name in OPTIONAL)


def need_package(name: str) -> None:
    """Do as :func:`lack` does unless this package, which recipes are made with, is installed."""
    if find_spec(name) is None:
        lack(f"{name} is not installed: the extra 'recipes' brings it")


if __name__ == "__main__":
    for command, what in missing().items():
        sys.stderr.write(f"WARNING: {command} is not installed: {what} will be skipped.\n")
    sys.exit(1 if missing().keys() - OPTIONAL and required() else 0)

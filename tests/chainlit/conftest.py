"""One server that serves all bots of the folder, for all tests of the package."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Run

BOTS = Path(__file__).parent / "bots"
#: What bots import, and what is no bot itself.
HELPERS = {"fake_llm.py", "imported_handlers.py"}


def bots() -> list[str]:
    """The files of the bots."""
    return sorted(path.name for path in BOTS.glob("*.py") if path.name not in HELPERS)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """``chatsessions run`` with all of them."""
    folder = tmp_path_factory.mktemp("chainlit")
    for path in BOTS.glob("*.py"):
        shutil.copy(path, folder)
    run = Run(folder, *bots())
    try:
        yield run.start()
    finally:
        run.discard()


@pytest.fixture(scope="session")
def password(served: Run) -> str:
    """The administrator's, which is printed at the first start alone."""
    return served.password

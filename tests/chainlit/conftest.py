"""One server that serves all bots of the folder, for all tests of the package."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Run

BOTS = Path(__file__).parent / "bots"


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """``chatsessions run`` with all of them."""
    folder = tmp_path_factory.mktemp("chainlit")
    shutil.copytree(BOTS, folder, dirs_exist_ok=True)
    run = Run(folder, *sorted(path.name for path in BOTS.glob("*.py") if path.stem != "fake_llm"))
    try:
        yield run.start()
    finally:
        run.discard()

"""Commands that end with their test, and one that all tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from .command import COUNTER, Run


@pytest.fixture
def counter(tmp_path: Path) -> Path:
    """A folder with nothing in it but the tutorial's bot."""
    (tmp_path / "counter_bot.py").write_text(COUNTER)
    return tmp_path


@pytest.fixture
def run(counter: Path) -> Iterator[Callable[..., Run]]:
    """Starts ``chatsessions run`` in that folder: ``run("counter_bot.py", "-w")``."""
    with ExitStack() as stack:

        def start(*arguments: str, env: Mapping[str, str] | None = None, wait: bool = True) -> Run:
            found = Run(counter, *arguments, env=env)
            stack.callback(found.discard)
            return found.start(wait=wait)

        yield start


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """``chatsessions run counter_bot.py``, for tests that change nothing of it."""
    folder = tmp_path_factory.mktemp("counter")
    (folder / "counter_bot.py").write_text(COUNTER)
    found = Run(folder, "counter_bot.py")
    try:
        yield found.start()
    finally:
        found.discard()

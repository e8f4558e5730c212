"""The folder that ``chatsessions run`` keeps its data in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from .errors import CommandFailed


@dataclass(frozen=True, slots=True)
class DataFolder:
    """``.chatsessions/`` beside the bot: the database, the secret key, uploaded files."""

    path: Path

    def make(self) -> None:
        """Make the folder, for its owner alone. Raises ``CommandFailed`` if it cannot be."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                ignore.write_text("# Made by chatsessions run: data, not source.\n*\n")
            probe = self.path / f".probe.{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise CommandFailed(
                f"Cannot write in {self.path} ({error.strerror}). Name a folder to keep the "
                "conversations in: --data FOLDER."
            ) from error

    @contextmanager
    def locked(self, address: str) -> Iterator[None]:
        """
        Hold the folder for this process, which serves at ``address``.

        Raises ``CommandFailed`` if another process holds it.
        """
        note = self.path / "served.json"
        with (self.path / "lock").open("a") as file:
            if not _lock(file):
                raise CommandFailed(f"{self.path} is in use: {_whose(note)}")
            note.write_text(json.dumps({"pid": os.getpid(), "address": address}))
            try:
                yield
            finally:
                with suppress(OSError):
                    note.unlink()


def _whose(note: Path) -> str:
    try:
        found = json.loads(note.read_text())
        return (
            f"it is served at {found['address']}/ by process {found['pid']}. Stop that one, or "
            "keep this one's data elsewhere: --data FOLDER."
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "another process is starting with it. Try again, or use --data FOLDER."


def _lock(file: IO[str]) -> bool:
    """Lock ``file`` until it is closed, or this process ends; False if another one has."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

"""The folder ``.chatsessions/``, in which ``chatsessions run`` keeps its data, and the database."""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.files import locks
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from . import CommandFailed

ADMIN = "admin"
#: The file in the folder that says which process uses it.
NOTE = "served.json"

# The folder


def make_folder(folder: Path) -> None:
    """Make the folder, readable by its owner only. Raises ``CommandFailed`` if that fails."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("# Made by chatsessions run: data, not source.\n*\n")
        probe = folder / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CommandFailed(
            f"Cannot write in {folder} ({error.strerror}). Name another folder for the "
            "conversations: --data FOLDER."
        ) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """
    Lock the folder for this process during the block.

    Raises ``CommandFailed`` if another process has locked it.
    """
    note = folder / NOTE
    with (folder / "lock").open("a") as file:
        try:
            is_ours = locks.lock(file, locks.LOCK_EX | locks.LOCK_NB)
        except OSError:  # such as a file system without locks
            is_ours = False
        if not is_ours:
            raise CommandFailed(f"{folder} is in use: {_who_uses_it(note)}")
        try:
            yield
        finally:
            with suppress(OSError):
                note.unlink()


def note_address(folder: Path, address: str) -> None:
    """Save the address of this process. A process that finds the folder locked shows it."""
    (folder / NOTE).write_text(json.dumps({"pid": os.getpid(), "address": address}))


def _who_uses_it(note: Path) -> str:
    try:
        found = json.loads(note.read_text())
        return (
            f"it is served at {found['address']}/ by process {found['pid']}. Stop that process, or "
            "name another folder: --data FOLDER."
        )
    except (OSError, ValueError, KeyError, TypeError):
        return "another process is starting with it. Try again, or use --data FOLDER."


# The database. Django has to be set up.


def migrate(folder: Path) -> Path | None:
    """
    Bring the tables up to date, after copying a SQLite database that has tables already.

    Return the path of the copy; None if there is none. Raises ``CommandFailed`` for a database that
    a later version has written.
    """
    executor = MigrationExecutor(connection)
    known = set(executor.loader.disk_migrations)
    applied = set(executor.loader.applied_migrations)
    newer = sorted(name for app, name in applied - known if app == "chatsessions")
    if newer:
        raise CommandFailed(
            f"The database in {folder} was written by a later version of chatsessions "
            f"({newer[-1]}). Install that version, or name another folder: --data FOLDER."
        )
    if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return None
    copy = None
    if applied and connection.vendor == "sqlite":
        path = Path(connection.settings_dict["NAME"])
        copy = path.with_name(f"{path.stem}.before-{datetime.now():%Y%m%d-%H%M%S}{path.suffix}")  # noqa: DTZ005
        connection.close()
        copy_database(path, copy)
    call_command("migrate", verbosity=0, interactive=False)
    return copy


def copy_database(source: Path, target: Path) -> None:
    """Copy a database of SQLite, which others may be using."""
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def administrator(*, new_password: bool) -> str:
    """Make the administrator if there is none; return the words that say how to log in."""
    users = get_user_model()._default_manager
    user = users.filter(username=ADMIN).first()
    if user is not None and not new_password:
        return f"as {ADMIN} (lost the password? --new-password)"
    password = secrets.token_urlsafe(9)
    if user is None:
        users.create_superuser(ADMIN, "", password)
    else:
        user.set_password(password)
        user.save()
    return f"as {ADMIN} with the password {password}   (it is not shown again)"

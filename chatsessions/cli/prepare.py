"""Make the database of ``chatsessions run`` ready: its tables, and who may look into it."""

from __future__ import annotations

import secrets
import sqlite3
from datetime import datetime
from pathlib import Path

from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from .errors import CommandFailed
from .folder import DataFolder

ADMIN = "admin"


def migrate(data: DataFolder) -> Path | None:
    """
    Bring the tables up to date; a database of SQLite is copied first.

    Return the copy if one was made. Raises ``CommandFailed`` for a database that a later version
    has written.
    """
    executor = MigrationExecutor(connection)
    known = set(executor.loader.disk_migrations)
    applied = set(executor.loader.applied_migrations)
    newer = sorted(name for app, name in applied - known if app == "chatsessions")
    if newer:
        raise CommandFailed(
            f"The database in {data.path} was written by a later version of chatsessions "
            f"({newer[-1]}). Install that one, or keep this one's data elsewhere: --data FOLDER."
        )
    if not executor.migration_plan(executor.loader.graph.leaf_nodes()):
        return None
    copy = _copy() if applied and connection.vendor == "sqlite" else None
    call_command("migrate", verbosity=0, interactive=False)
    return copy


def _copy() -> Path:
    path = Path(connection.settings_dict["NAME"])
    copy = path.with_name(f"{path.stem}.before-{datetime.now():%Y%m%d-%H%M%S}{path.suffix}")  # noqa: DTZ005
    connection.close()
    with sqlite3.connect(path) as source, sqlite3.connect(copy) as target:
        source.backup(target)
    source.close()
    target.close()
    return copy


def administrator(*, new_password: bool) -> str:
    """Make the administrator at the first start; return how to log in."""
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

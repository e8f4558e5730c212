"""The database that the journal writes to, as its settings tell; nothing is connected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings as django_settings
from django.contrib.auth import get_user_model
from django.core.checks import Error, Warning  # noqa: A004
from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from chatsessions.conf import settings

from .registry import Found, check, message_id


def _database() -> tuple[str, Mapping[str, Any], type[BaseDatabaseWrapper]] | None:
    """Alias, configuration and backend class of the database in use; nothing is connected."""
    alias = settings.DATABASE
    config: Mapping[str, Any] = django_settings.DATABASES.get(alias, {})
    try:
        return (
            alias,
            config,
            load_backend(config.get("ENGINE", "django.db.backends.dummy")).DatabaseWrapper,
        )
    except (ImproperlyConfigured, ImportError):
        return None  # Django names it wherever the database is used first


def _sqlite_file() -> tuple[str, Mapping[str, Any]] | None:
    """Alias and OPTIONS where the database is SQLite's and on disk."""
    database = _database()
    if database is None or database[2].vendor != "sqlite":
        return None
    name = str(database[1].get("NAME"))
    if name == ":memory:" or "mode=memory" in name:
        return None
    return database[0], database[1].get("OPTIONS", {})


@check()
def check_database_alias() -> Found:
    if settings.DATABASE not in django_settings.DATABASES:
        yield Error(
            f"CHATSESSIONS['DATABASE'] is {settings.DATABASE!r}, which is no alias in DATABASES.",
            hint=f"Write one of {', '.join(map(repr, django_settings.DATABASES))}, or add "
            f"{settings.DATABASE!r} to DATABASES.",
            id=message_id("E006"),
        )


@check()
def check_users_are_in_the_same_database() -> Found:
    alias = settings.DATABASE
    if alias not in django_settings.DATABASES:
        return
    try:
        users = router.db_for_write(get_user_model())
    except (ImproperlyConfigured, LookupError):
        return  # Django's own checks say so
    if users not in django_settings.DATABASES or _place(users) == _place(alias):
        return
    yield Error(
        f"CHATSESSIONS['DATABASE'] is {alias!r}, and users are in the database {users!r}: a "
        "session refers to its user by a foreign key, and no database keeps one into another "
        "database.",
        hint=f"Write CHATSESSIONS = {{'DATABASE': {users!r}}}, or an alias of the same database.",
        id=message_id("E015"),
    )


def _place(alias: str) -> tuple[str, ...]:
    """Which database an alias leads to: several may lead to one, with other options."""
    config: Mapping[str, Any] = django_settings.DATABASES[alias]
    return tuple(str(config.get(key) or "") for key in ("ENGINE", "NAME", "HOST", "PORT"))


@check()
def check_sqlite_journal_mode() -> Found:
    sqlite = _sqlite_file()
    if sqlite is None:
        return
    alias, options = sqlite
    command = options.get("init_command") or ""
    said = re.search(r"journal_mode\s*[=(]\s*['\"]?(\w+)", command, re.IGNORECASE)
    if said is not None and said[1].lower() != "wal":
        yield Warning(
            f"DATABASES[{alias!r}]['OPTIONS']['init_command'] is {command!r}, which switches "
            "write-ahead logging off: readers and the journal's writer wait for each other.",
            hint="Leave journal_mode out, and it is switched on. On a network's disk, where SQLite "
            "cannot have it, take PostgreSQL, or silence this.",
            id=message_id("W007"),
        )


@check()
def check_partial_unique() -> Found:
    database = _database()
    if database is not None and database[2].features_class.supports_partial_indexes is False:
        alias, config, backend = database
        yield Warning(
            f"DATABASES[{alias!r}]['ENGINE'] is {config['ENGINE']!r}: {backend.display_name} has "
            "no partial unique constraint, so the database does not refuse a client's event that "
            "is stored twice; the session's one owner alone does.",
            hint="Write the engine of PostgreSQL or SQLite. Otherwise silence this and Django's "
            "models.W036.",
            id=message_id("W009"),
        )

"""How a generator of messages becomes a system check, and what its messages have in common."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured
from django.db.utils import DatabaseError

from chatsessions.conf import settings

TAG = "chatsessions"

Found = Iterator[CheckMessage]
Finder = Callable[[], Found]


def check(*tags: str, deploy: bool = False) -> Callable[[Finder], Finder]:
    """Register a generator of messages as a system check."""

    def decorate(find: Finder) -> Finder:
        def run(**kwargs: Any) -> list[CheckMessage]:
            return _found(find)

        register(run, TAG, *tags, deploy=deploy)
        return find

    return decorate


def database_check(find: Finder) -> Finder:
    """Register a check that asks the database: it runs where that is named, with ``--database``."""

    def run(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
        # "migrate" checks as well, before the tables are there.
        with suppress(DatabaseError, ImproperlyConfigured):
            if settings.DATABASE in (databases or ()):
                return _found(find)
        return []

    register(run, TAG, Tags.database)
    return find


def _found(find: Finder) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    # An ill-typed setting is E001's or E003's to tell; what rests on it is not checked.
    with suppress(ImproperlyConfigured):
        for message in find():
            found.append(message)
    return found


def message_id(number: str) -> str:
    return f"{TAG}.{number}"


def by_store(error: str, warning: str, message: str, *, hint: str) -> CheckMessage:
    """An error where the cache is the only store, a warning where the row stands behind it."""
    if settings.USER_SESSION_STORE == "cache":
        return Error(message, hint=hint, id=message_id(error))
    return Warning(message, hint=hint, id=message_id(warning))

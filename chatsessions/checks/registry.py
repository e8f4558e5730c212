"""Register generators of messages as system checks, and make those messages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError

from chatsessions.conf import settings

TAG = "chatsessions"

Found = Iterator[CheckMessage]
Finder = Callable[[], Found]


def check(*tags: str, deploy: bool = False) -> Callable[[Finder], Finder]:
    """
    Register a generator of messages as a system check.

    One with ``Tags.database`` queries the database. It runs if Django is told to check that
    database: in ``check --database`` and ``migrate``.
    """

    def decorate(find: Finder) -> Finder:
        def run(databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
            found: list[CheckMessage] = []
            # E001 and E003 report an ill-typed setting; checks that read it stop here. "migrate"
            # runs the checks before the tables exist.
            with suppress(ImproperlyConfigured, DatabaseError):
                if Tags.database in tags and settings.DATABASE not in (databases or ()):
                    return []
                for message in find():
                    found.append(message)
            return found

        register(run, TAG, *tags, deploy=deploy)
        return find

    return decorate


def error(number: str, message: str, *, hint: str) -> CheckMessage:
    return Error(message, hint=hint, id=f"{TAG}.{number}")


def warning(number: str, message: str, *, hint: str) -> CheckMessage:
    return Warning(message, hint=hint, id=f"{TAG}.{number}")


def by_store(if_only_store: str, otherwise: str, message: str, *, hint: str) -> CheckMessage:
    """Return an error if the cache is the only store of user sessions, else a warning."""
    if settings.USER_SESSION_STORE == "cache":
        return error(if_only_store, message, hint=hint)
    return warning(otherwise, message, hint=hint)

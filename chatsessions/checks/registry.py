"""How a generator of messages becomes a system check, and what its messages have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured

from chatsessions.conf import settings

TAG = "chatsessions"

Found = Iterator[CheckMessage]
Finder = Callable[[], Found]


def check(*tags: str, deploy: bool = False) -> Callable[[Finder], Finder]:
    """Register a generator of messages as a system check."""

    def decorate(find: Finder) -> Finder:
        def run(**kwargs: Any) -> list[CheckMessage]:
            found: list[CheckMessage] = []
            # An ill-typed setting is E001's or E003's to tell; what rests on it is not checked.
            with suppress(ImproperlyConfigured):
                for message in find():
                    found.append(message)
            return found

        register(run, TAG, *tags, deploy=deploy)
        return find

    return decorate


def message_id(number: str) -> str:
    return f"{TAG}.{number}"


def by_store(error: str, warning: str, message: str, *, hint: str) -> CheckMessage:
    """An error where the cache is the only store, a warning where the row stands behind it."""
    if settings.USER_SESSION_STORE == "cache":
        return Error(message, hint=hint, id=message_id(error))
    return Warning(message, hint=hint, id=message_id(warning))

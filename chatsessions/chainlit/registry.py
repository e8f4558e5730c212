"""The functions that bots have decorated, by their ``Chat``, and the calls of those functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from asgiref.sync import iscoroutinefunction

import chatsessions
from chatsessions.handlers.context import find_context

from .sync import suspendable

_functions: WeakKeyDictionary[chatsessions.Chat, dict[str, Callable[..., Any]]] = (
    WeakKeyDictionary()
)


def functions_of(chat: chatsessions.Chat) -> dict[str, Callable[..., Any]]:
    """Return the functions of a chat by hook; the hook of an action is ``action <name>``."""
    return _functions.setdefault(chat, {})


async def call(function: Callable[..., Any], *arguments: Any) -> Any:
    """
    Call a bot's function with as many of ``arguments`` as it takes.

    A function without ``async`` runs in a thread.
    """
    given = arguments[: _positions(function)]
    if iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__):
        return await suspendable(function(*given))
    found = await chatsessions.make_async(function)(*given)
    return await suspendable(found) if inspect.isawaitable(found) else found


async def author_of(name: str) -> str:
    """Return the name to show for an author, which ``author_rename`` may change."""
    found = find_context()
    rename = None if found is None else functions_of(found.chat).get("author_rename")
    return name if rename is None else str(await call(rename, name))


def _positions(function: Callable[..., Any]) -> int | None:
    """Return how many arguments a function takes by position; None for any number."""
    kinds = [parameter.kind for parameter in inspect.signature(function).parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(kind in positional for kind in kinds)

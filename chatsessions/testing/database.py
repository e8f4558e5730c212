"""
A database that a test and the server both see.

A test that is rolled back at its end holds its data in a transaction, which is its connection's
own, which is its thread's own; the server's queries run elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from chatsessions.conf import settings

#: How Django closes connections that it thinks are of no more use.
CLOSE = "close_if_unusable_or_obsolete"


async def check_database() -> None:
    """
    See that the server would find what the test has stored, and the other way round.

    Raises ``ImproperlyConfigured`` in a test whose transaction the server cannot see. It would
    wait for the locks of that transaction until it gives up.
    """
    alias = settings.DATABASE
    held = [connection for connection in held_by_thread() if connection.alias == alias]
    if held and not await sync_to_async(lambda: connections[alias] is held[0])():
        raise ImproperlyConfigured(
            "This test runs in a database transaction that the server's queries cannot see. "
            "Take ChatCommunicator from the chat_communicator fixture (pytest_plugins = "
            '["chatsessions.testing.pytest"] in conftest.py), or mark the test with '
            "django_db(transaction=True)."
        )
    if not settings.JOURNAL_INLINE and await sync_to_async(_in_transaction)(alias):
        raise ImproperlyConfigured(
            "This test runs in a database transaction that the journal's own thread cannot see. "
            'Set CHATSESSIONS = {"JOURNAL_INLINE": True} for it, with override_settings or in the '
            "settings of the tests, or use TransactionTestCase."
        )


def _in_transaction(alias: str) -> bool:
    return any(connection.alias == alias for connection in connections_in_transaction())


def connections_in_transaction() -> list[BaseDatabaseWrapper]:
    """The current thread's connections that a test holds in a transaction."""
    return [one for one in connections.all(initialized_only=True) if one.in_atomic_block]


def held_by_thread() -> list[BaseDatabaseWrapper]:
    """
    What the event loop's thread held in a transaction before the loop ran.

    Django shows code in an event loop other connections than code outside of one in the same
    thread, which is where pytest-django opens its transaction.
    """
    loop = asyncio.get_running_loop()
    asyncio._set_running_loop(None)
    try:
        return connections_in_transaction()
    finally:
        asyncio._set_running_loop(loop)


def hold() -> list[BaseDatabaseWrapper]:
    """
    Keep this thread's connections with a test's transaction open; those not kept already.

    ``database_sync_to_async``, and so Channels' own middleware, closes a connection without
    autocommit as a broken one. The test's data would go with it.
    """
    held = [one for one in connections_in_transaction() if CLOSE not in vars(one)]
    for connection in held:
        vars(connection)[CLOSE] = _keep
    return held


def _keep() -> None:
    """The test closes it."""


def release(held: Iterable[BaseDatabaseWrapper]) -> None:
    """Undo :func:`hold`."""
    for connection in held:
        vars(connection).pop(CLOSE, None)


def lend(lent: Iterable[BaseDatabaseWrapper]) -> dict[str, BaseDatabaseWrapper | None]:
    """Make another thread's connections this thread's own; what they replaced."""
    replaced: dict[str, BaseDatabaseWrapper | None] = {}
    own = {one.alias: one for one in connections.all(initialized_only=True)}
    for connection in lent:
        replaced[connection.alias] = own.get(connection.alias)
        connection.inc_thread_sharing()
        connections[connection.alias] = connection
    return replaced


def give_back(replaced: Mapping[str, BaseDatabaseWrapper | None]) -> None:
    """Undo :func:`lend`."""
    for alias, connection in replaced.items():
        connections[alias].dec_thread_sharing()
        if connection is None:
            del connections[alias]
        else:
            connections[alias] = connection


def close_connections() -> None:
    """Close this thread's connections, except those that a test holds in a transaction."""
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()

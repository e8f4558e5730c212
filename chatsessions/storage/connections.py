"""
The database connections of this package's own threads, which live longer than any request.

Django looks at a connection between two requests. A thread that serves no requests has to do so
itself, or one that lost its connection never works again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from django.conf import settings as django_settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import DatabaseError, InterfaceError, OperationalError

logger = logging.getLogger("chatsessions.store")

T = TypeVar("T")

#: What is said of a database that was not migrated.
NOT_MIGRATED = (
    "The database lacks tables or columns of chatsessions: run `python manage.py migrate`."
)

#: Seconds after which the connections of a thread are looked at again, although nothing failed.
LOOK_INTERVAL = 1.0

#: SQLSTATE of errors that PostgreSQL's driver does not count among the operational ones: the
#: server is a standby, or it has ended a transaction that stood still.
_READ_ONLY = "25006"
_TIMED_OUT = ("25P03", "25P04")
#: The same of MySQL, by number: --read-only, and a read-only storage.
_MYSQL_READ_ONLY = (1290, 1836)
#: A table or a column is not there: to PostgreSQL, to MySQL, and to SQLite.
_LACKING = ("42P01", "42703")
_MYSQL_LACKING = (1146, 1054)
_SQLITE_LACKING = ("no such table: chatsessions_", "no such column: chatsessions_", "has no column")


def is_transient(error: BaseException) -> bool:
    """
    Whether ``error`` may pass by itself, such as a locked table, a full disk or a lost connection.

    Any other error is the fault of what was to be stored.
    """
    if isinstance(error, OperationalError | InterfaceError):
        return True
    return is_read_only(error) or _sqlstate(error) in _TIMED_OUT


def is_read_only(error: BaseException) -> bool:
    """Whether the database takes no writes on this connection, as after a failover."""
    if not isinstance(error, DatabaseError):
        return False
    if _sqlstate(error) == _READ_ONLY:
        return True
    arguments: tuple[Any, ...] = getattr(error.__cause__, "args", ())
    return bool(arguments) and arguments[0] in _MYSQL_READ_ONLY


def is_unmigrated(error: BaseException) -> bool:
    """Whether ``error`` is that of a table or column of this package that is not there."""
    if not isinstance(error, DatabaseError) or "chatsessions_" not in str(error):
        return False
    arguments: tuple[Any, ...] = getattr(error.__cause__, "args", ()) or (None,)
    return (
        _sqlstate(error) in _LACKING
        or arguments[0] in _MYSQL_LACKING
        or any(words in str(error) for words in _SQLITE_LACKING)
    )


def unavailable(error: BaseException, what: str) -> tuple[str, str]:
    """
    Log in one line that ``what`` could not be done; return the error's code and detail for clients.

    Under ``DEBUG`` they are told of a database that was not migrated.
    """
    if not is_unmigrated(error):
        logger.error("%s: %s", what, error)
    else:
        logger.error("%s: %s. %s", what, error, NOT_MIGRATED)
        if django_settings.DEBUG:
            return "not_migrated", NOT_MIGRATED
    return "storage_unavailable", "try again"


def _sqlstate(error: BaseException) -> str | None:
    return getattr(error.__cause__, "sqlstate", None)


def is_pooled(connection: BaseDatabaseWrapper) -> bool:
    """Whether the connection is one of Django's pool, which other threads need as well."""
    return bool(connection.settings_dict["OPTIONS"].get("pool"))


class Connections(threading.local):
    """
    Runs functions on database connections that work. Each thread has connections of its own.

    A connection is looked at before its next use when something has failed in its thread, and
    once a second; one that is dead or older than ``CONN_MAX_AGE`` is replaced. With
    ``CONN_MAX_AGE = 0``, which is about requests, a connection stays. A pooled one goes back to its
    pool after each function.
    """

    def __init__(self) -> None:  # called in each thread that uses it
        self._looked_at = time.monotonic()
        self._has_failed = False

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call ``function``. What it raises is raised, and makes sure of the next call."""
        if self._has_failed or time.monotonic() - self._looked_at > LOOK_INTERVAL:
            close_unusable(keeps=True)
            self._looked_at = time.monotonic()
        self._has_failed = True
        try:
            result = function(*args)
        except Exception as error:
            if is_read_only(error):
                # It works, and never again for what it is needed for.
                for connection in _open_connections():
                    _discard(connection)
            raise
        else:
            self._has_failed = False
            return result
        finally:
            for connection in connections.all(initialized_only=True):
                if is_pooled(connection):
                    connection.close()


def close_unusable(*, keeps: bool = False) -> None:
    """
    Close the connections of this thread that do not work: whoever needs one makes a new one.

    Closes those that are too old, too. ``keeps``: with ``CONN_MAX_AGE = 0`` none is.
    """
    for connection in connections.all(initialized_only=True):
        if is_pooled(connection):
            _check_pool(connection)
        if connection.connection is not None:
            if keeps and connection.settings_dict["CONN_MAX_AGE"] == 0:
                connection.close_at = None
            connection.close_if_unusable_or_obsolete()
        if connection.connection is not None and not connection.is_usable():
            connection.close()


def _open_connections() -> list[BaseDatabaseWrapper]:
    found = connections.all(initialized_only=True)
    return [connection for connection in found if connection.connection is not None]


def _discard(connection: BaseDatabaseWrapper) -> None:
    """Close a connection; a pool throws away what comes back closed."""
    with suppress(Exception):  # whatever a driver raises for one that is half dead
        connection.connection.close()
    connection.close()


def _check_pool(connection: BaseDatabaseWrapper) -> None:
    """Have the pool replace what is dead in it."""
    pool: Any = getattr(connection, "pool", None)
    if hasattr(pool, "check") and not pool.closed:
        pool.check()

"""
The database outside of requests: a worker's threads, their connections, and what errors mean.

Django looks at a connection between two requests. A thread that serves no requests has to do so
itself, or one that lost its connection never works again.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import Context
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import DatabaseError, InterfaceError, OperationalError

from chatsessions.conf import settings

logger = logging.getLogger("chatsessions.store")

T = TypeVar("T")

#: What is said of a database that was not migrated.
NOT_MIGRATED = (
    "The database lacks tables or columns of chatsessions: run `python manage.py migrate`."
)

#: Seconds after which the connections of a thread are looked at again, although nothing failed.
LOOK_INTERVAL = 1.0

#: The most threads that read the store at one time: a long read keeps no other waiting.
READERS = 4
#: The most threads that ask authentication backends and session engines at one time.
CHECKERS = 4
#: The most threads that handlers' files are written in at one time.
FILES = 4
#: Seconds after which a thread that has nothing to do ends, with its database connection.
IDLE = 60.0

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


class CacheFailed(Exception):
    """The cache did not take what it was given: all of it, or only ``keys``."""

    def __init__(self, message: str, keys: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.keys = frozenset(keys)


def is_transient(error: BaseException) -> bool:
    """
    Whether ``error`` may pass by itself, such as a locked table, a full disk, a lost connection or
    a cache that fails.

    Any other error is the fault of what was to be stored.
    """
    if isinstance(error, OperationalError | InterfaceError | CacheFailed):
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


def refuse_test_transaction() -> None:
    """
    Raise ``ImproperlyConfigured`` if this thread is in the transaction of a ``TestCase``.

    The store has threads and connections of its own: it would not find what the test has made, and
    would wait for the locks of its transaction until it gives up.
    """
    blocks: list[Any] = connections[settings.DATABASE].atomic_blocks
    if any(block._from_testcase for block in blocks):
        raise ImproperlyConfigured(
            "This test runs in a transaction, and the sessions' store does not see what is in it. "
            "Use django.test.TransactionTestCase instead of TestCase; with pytest-django mark the "
            "test with @pytest.mark.django_db(transaction=True), or take the chat_communicator "
            "fixture."
        )


async def arefuse_test_transaction() -> None:
    """
    :func:`refuse_test_transaction` for asynchronous code.

    The transaction may be that of the thread in which synchronous code runs, as in a ``TestCase``,
    or that of the event loop's own thread, as with pytest-asyncio.
    """
    if "django.test.testcases" not in sys.modules:
        return
    loop = asyncio.get_running_loop()
    asyncio._set_running_loop(None)  # inside of a loop Django shows other connections
    try:
        refuse_test_transaction()
    finally:
        asyncio._set_running_loop(loop)
    await sync_to_async(refuse_test_transaction)()


class Executors:
    """
    Where a worker's synchronous code runs, each kind of it in threads of its own.

    One thread writes the store. The project's code (handlers written as ``def``, authentication
    backends) never runs in the threads that the store uses: it may take as long as it likes. All
    of them have connections by :class:`Connections`.
    """

    def __init__(self) -> None:
        self._connections = Connections()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="chatsessions-journal")
        self._readers = DaemonThreadPool(READERS, "chatsessions-reader")
        self._checkers = DaemonThreadPool(CHECKERS, "chatsessions-checker")
        # A handler in a thread may wait for one of its files.
        self._files = DaemonThreadPool(FILES, "chatsessions-files")
        self._handlers: DaemonThreadPool | None = None

    async def write(self, function: Callable[..., T], *args: Any) -> T:
        """Run what writes the store, in the order in which it is given."""
        return await self.start_write(function, *args)

    def start_write(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """As :meth:`write`, for a caller that has to learn the outcome even if it is cancelled."""
        return self._start(self._writer, self._connections.run, function, *args)

    async def read(self, function: Callable[..., T], *args: Any) -> T:
        """Run what reads the store. What fails and may pass is tried twice."""
        return await self._start(self._readers, self._read, function, *args)

    def read_now(self, function: Callable[[], T]) -> T:
        """As :meth:`read`, and the event loop waits for it: where nothing else will do."""
        result: T = self._readers.submit(self._read, function).result()
        return result

    async def check(self, function: Callable[..., T], *args: Any) -> T:
        """As :meth:`read`, for what asks the project's code: who somebody is, what they may do."""
        # Of its own: what project code sets in a thread is not for whom it is asked about next.
        run = Context().run
        return await self._start(self._checkers, self._read, run, function, *args)

    async def handle(self, function: Callable[[], Any]) -> Any:
        """Run a handler written as ``def``, with the caller's context."""
        if self._handlers is None:
            self._handlers = DaemonThreadPool(settings.SYNC_HANDLER_THREADS, "chatsessions-handler")
        return await self._run_in_context(self._handlers, function)

    async def do_files(self, function: Callable[[], T]) -> T:
        """Run what reads and writes files and their rows, with the caller's context."""
        result: T = await self._run_in_context(self._files, function)
        return result

    async def close(self) -> None:
        """Wait for what uses the store, and close the threads' connections."""
        await asyncio.get_running_loop().run_in_executor(self._writer, self._close)
        self._writer.shutdown(wait=False)
        for threads in (self._checkers, self._files, self._handlers):
            if threads is not None:
                threads.shutdown()

    def _close(self) -> None:
        self._readers.shutdown(wait=True)
        connections.close_all()

    def _read(self, function: Callable[..., T], *args: Any) -> T:
        try:
            return self._connections.run(function, *args)
        except Exception as error:
            if not is_transient(error):
                raise
            return self._connections.run(function, *args)

    def _start(
        self,
        executor: Executor,
        run: Callable[..., T],
        function: Callable[..., T],
        *args: Any,
    ) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(executor, run, function, *args)

    async def _run_in_context(self, threads: DaemonThreadPool, function: Callable[[], Any]) -> Any:
        run = sync_to_async(  # type: ignore[call-overload]  # any Executor does
            self._connections.run, thread_sensitive=False, executor=threads
        )
        return await run(function)


class DaemonThreadPool(Executor):
    """
    A pool whose threads do not keep the process alive, and end when nothing is to be done.

    A handler that blocks cannot be ended, and a ``ThreadPoolExecutor`` is joined when Python
    exits: one handler would keep a server that was told to stop until somebody kills it.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._changed = threading.Condition()
        self._work: deque[Callable[[], None]] = deque()
        self._threads: set[threading.Thread] = set()
        self._waiting = 0
        self._ended = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    result = fn(*args, **kwargs)
                except BaseException as error:  # noqa: BLE001, RUF100  # it is the awaiter's
                    future.set_exception(error)
                else:
                    future.set_result(result)

        with self._changed:
            self._work.append(work)
            if len(self._work) > self._waiting and len(self._threads) < self._count:
                name = f"{self._name}-{len(self._threads)}"
                thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._threads.add(thread)
                thread.start()
            else:
                self._changed.notify()
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002, RUF100
        """Threads end when they are through with what they do, and close their connections."""
        with self._changed:
            self._ended = True
            threads = list(self._threads)
            self._changed.notify_all()
        if wait:
            for thread in threads:
                thread.join()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            work()
            del work
        connections.close_all()

    def _next(self) -> Callable[[], None] | None:
        """What is to be done next; None if the calling thread is to end."""
        with self._changed:
            self._waiting += 1
            try:
                while not self._work:
                    if self._ended or not (self._changed.wait(IDLE) or self._work):
                        self._threads.discard(threading.current_thread())
                        return None
                return self._work.popleft()
            finally:
                self._waiting -= 1

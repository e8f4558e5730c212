"""
The database outside of requests: a worker's threads, their connections, and what errors mean.

Django checks a connection between two requests. A thread that serves no requests has to do so
itself, or it never works again after it has lost its connection.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
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
from django.utils.translation import gettext

from chatsessions.conf import settings
from chatsessions.exceptions import CacheFailed

logger = logging.getLogger("chatsessions.store")

T = TypeVar("T")

#: The error text for a database that was not migrated.
NOT_MIGRATED = (
    "The database lacks tables or columns of chatsessions: run `python manage.py migrate`."
)

#: Seconds after which a thread's connections are checked, even if nothing has failed.
LOOK_INTERVAL = 1.0

#: The most threads that read the store at one time; short reads need not wait for a long one.
READERS = 4
#: The most threads that ask authentication backends and session engines at one time.
CHECKERS = 4
#: The most threads that read or write handlers' files at one time.
FILES = 4
#: Idle seconds after which a thread ends, and its database connection is closed.
IDLE = 60.0

#: SQLSTATEs of errors that PostgreSQL's driver does not count as operational: the server is a
#: standby, or it has ended an idle transaction.
_READ_ONLY = "25006"
_TIMED_OUT = ("25P03", "25P04")
#: The numbers of MySQL's errors of a server that is read-only.
_MYSQL_READ_ONLY = (1290, 1836)
#: How PostgreSQL, MySQL and SQLite say that a table or a column is not there.
_LACKING = ("42P01", "42703")
_MYSQL_LACKING = (1146, 1054)
_SQLITE_LACKING = ("no such table: chatsessions_", "no such column: chatsessions_", "has no column")


def is_transient(error: BaseException) -> bool:
    """
    Return True for an error that may pass by itself.

    Examples are a locked table, a full disk, a lost connection and a cache that fails. Any other
    error is caused by the data itself.
    """
    if isinstance(error, OperationalError | InterfaceError | CacheFailed):
        return True
    return is_read_only(error) or _sqlstate(error) in _TIMED_OUT


def is_read_only(error: BaseException) -> bool:
    """Return True if the database takes no writes on this connection, as after a failover."""
    if not isinstance(error, DatabaseError):
        return False
    if _sqlstate(error) == _READ_ONLY:
        return True
    arguments: tuple[Any, ...] = getattr(error.__cause__, "args", ())
    return bool(arguments) and arguments[0] in _MYSQL_READ_ONLY


def is_unmigrated(error: BaseException) -> bool:
    """Return True if a table or a column of this package is not there."""
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
    Log in one line that ``what`` failed, and return the code and the detail for clients.

    Only with ``DEBUG`` do clients learn that the database was not migrated.
    """
    if not is_unmigrated(error):
        logger.error("%s: %s", what, error)
    else:
        logger.error("%s: %s. %s", what, error, NOT_MIGRATED)
        if django_settings.DEBUG:
            return "not_migrated", NOT_MIGRATED
    return "storage_unavailable", gettext("Try again in a moment.")


def _sqlstate(error: BaseException) -> str | None:
    return getattr(error.__cause__, "sqlstate", None)


def is_pooled(connection: BaseDatabaseWrapper) -> bool:
    """Return True if a connection is from Django's pool, which other threads need too."""
    return bool(connection.settings_dict["OPTIONS"].get("pool"))


def call_in_thread(function: Callable[..., T], *args: Any) -> T:
    """
    Call ``function`` in a thread that code in an event loop waits for.

    Raises what it raises, but ``RuntimeError`` instead of ``StopIteration``: a future of asyncio
    cannot raise that, and the code would wait for ever.
    """
    try:
        return function(*args)
    except StopIteration as error:
        raise RuntimeError(
            "A function in a thread raised StopIteration: write next(found, None), or catch it."
        ) from error


class Connections(threading.local):
    """
    Runs functions on database connections that work; each thread has connections of its own.

    A thread's connections are checked once a second, and before their next use after a failure. One
    that is dead or older than ``CONN_MAX_AGE`` is replaced. ``CONN_MAX_AGE = 0`` closes none: it
    means the end of a request, and there are no requests here. A pooled connection goes back to its
    pool after each function.
    """

    def __init__(self) -> None:  # called in each thread that uses it
        self._looked_at = time.monotonic()
        self._has_failed = False

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call ``function``. If it raises, the connections are checked before the next call."""
        if self._has_failed or time.monotonic() - self._looked_at > LOOK_INTERVAL:
            close_unusable(keeps=True)
            self._looked_at = time.monotonic()
        self._has_failed = True
        try:
            result = call_in_thread(function, *args)
        except Exception as error:
            if is_read_only(error):
                # The connection works, but it will never take a write.
                for connection in connections.all(initialized_only=True):
                    if connection.connection is not None:
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
    Close the connections of this thread that do not work or are too old.

    Django opens a new one at the next use. With ``keeps`` a ``CONN_MAX_AGE`` of 0 closes none.
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


def _discard(connection: BaseDatabaseWrapper) -> None:
    """Close a connection for good: a pool discards a connection that is returned closed."""
    with suppress(Exception):  # a driver may raise anything for a broken connection
        connection.connection.close()
    connection.close()


def _check_pool(connection: BaseDatabaseWrapper) -> None:
    """Make the pool replace its dead connections."""
    pool: Any = getattr(connection, "pool", None)
    if hasattr(pool, "check") and not pool.closed:
        pool.check()


def refuse_test_transaction() -> None:
    """
    Raise ``ImproperlyConfigured`` in a thread that is in the transaction of a ``TestCase``.

    The store has threads and connections of its own. It would not see the rows that the test has
    created, and would wait for the locks of the test's transaction.
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
    Do for asynchronous code what :func:`refuse_test_transaction` does.

    The transaction may belong to the thread in which synchronous code runs, as in a ``TestCase``,
    or to the event loop's own thread, as with pytest-asyncio.
    """
    if "django.test.testcases" not in sys.modules:
        return
    loop = asyncio.get_running_loop()
    asyncio._set_running_loop(None)  # inside a loop Django returns other connections
    try:
        refuse_test_transaction()
    finally:
        asyncio._set_running_loop(loop)
    await sync_to_async(refuse_test_transaction)()


class Executors:
    """
    The threads that a worker's synchronous code runs in, with their database connections.

    One thread writes to the store, a few read from it. The project's code (handlers written as
    ``def``, authentication backends) may take any time, so it has threads of its own.
    """

    def __init__(self) -> None:
        self._connections = Connections()
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="chatsessions-journal")
        self._readers = DaemonThreadPool(READERS, "chatsessions-reader")
        self._checkers = DaemonThreadPool(CHECKERS, "chatsessions-checker")
        # Not the handlers' threads: in all of them a handler may be waiting for a file.
        self._files = DaemonThreadPool(FILES, "chatsessions-files")
        self._handlers: DaemonThreadPool | None = None

    async def write(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function that writes to the store, after those that were given before it."""
        return await self.start_write(function, *args)

    def start_write(self, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Do as :meth:`write`, for a caller that needs the outcome even if it is cancelled."""
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._writer, self._connections.run, function, *args)

    async def read(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function that reads the store; run it again once after a transient error."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._read, function, *args)

    async def read_ahead(self, function: Callable[..., T], *args: Any) -> T:
        """
        Do as :meth:`read`, but before the reads that wait.

        It is for the last reads of a session that is opened: of a crowd the first ones are let in
        while the others wait, instead of all at the end.
        """
        future = self._readers.submit_ahead(self._read, function, *args)
        found: T = await asyncio.wrap_future(future)
        return found

    def read_now(self, function: Callable[[], T]) -> T:
        """Do as :meth:`read_ahead` while the event loop waits: for code that cannot await."""
        result: T = self._readers.submit_ahead(self._read, function).result()
        return result

    async def check(self, function: Callable[..., T], *args: Any) -> T:
        """Do as :meth:`read`, for a function that calls the project's code, such as backends."""
        # In a new context, so that the next call does not see variables of the project's code.
        run = Context().run
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._checkers, self._read, run, function, *args)

    async def handle(self, function: Callable[[], Any]) -> Any:
        """Run a handler written as ``def``, in the caller's context."""
        if self._handlers is None:
            self._handlers = DaemonThreadPool(settings.SYNC_HANDLER_THREADS, "chatsessions-handler")
        return await self._run_in_context(self._handlers, function)

    async def do_files(self, function: Callable[[], T]) -> T:
        """Run a function that reads or writes files and their rows, in the caller's context."""
        result: T = await self._run_in_context(self._files, function)
        return result

    async def close(self) -> None:
        """Wait for work on the store, end all threads, and close their connections."""
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

    async def _run_in_context(self, threads: DaemonThreadPool, function: Callable[[], Any]) -> Any:
        run = sync_to_async(  # type: ignore[call-overload]  # it takes any Executor
            self._connections.run, thread_sensitive=False, executor=threads
        )
        return await run(function)


class DaemonThreadPool(Executor):
    """
    A pool of threads that do not keep the process alive, and end when they are idle.

    Python waits at its exit for the threads of a ``ThreadPoolExecutor``. A handler that blocks
    cannot be ended, and would keep the process of a stopped server alive.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._changed = threading.Condition()
        self._work: deque[Callable[[], None]] = deque()
        self._ahead: deque[Callable[[], None]] = deque()
        self._threads: set[threading.Thread] = set()
        self._waiting = 0
        self._ended = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._submit(self._work, fn, *args, **kwargs)

    def submit_ahead(self, fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        """Do as :meth:`submit`, before all work that was submitted there and waits."""
        return self._submit(self._ahead, fn, *args)

    def _submit(
        self, queue: deque[Callable[[], None]], fn: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    result = fn(*args, **kwargs)
                except BaseException as error:  # noqa: BLE001, RUF100  # the awaiter gets it
                    future.set_exception(error)
                else:
                    future.set_result(result)

        with self._changed:
            queue.append(work)
            if (
                len(self._work) + len(self._ahead) > self._waiting
                and len(self._threads) < self._count
            ):
                name = f"{self._name}-{len(self._threads)}"
                thread = threading.Thread(target=self._run, name=name, daemon=True)
                self._threads.add(thread)
                thread.start()
            else:
                self._changed.notify()
        return future

    def shutdown(self, wait: bool = False, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002, RUF100
        """End each thread when its work is done, and close its connections."""
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
        """Return the next piece of work, or None if the calling thread has to end."""
        with self._changed:
            self._waiting += 1
            try:
                while not (queue := self._ahead or self._work):
                    if self._ended or not (self._changed.wait(IDLE) or self._ahead or self._work):
                        self._threads.discard(threading.current_thread())
                        return None
                return queue.popleft()
            finally:
                self._waiting -= 1

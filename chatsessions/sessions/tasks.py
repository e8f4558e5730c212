"""A session's tasks, and the application's lifespan handler: both run beside its turns."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from chatsessions.auth.env import log_error
from chatsessions.conf import settings
from chatsessions.exceptions import ChatSessionsError, TurnStopped
from chatsessions.handlers.chat import Chat, Handler
from chatsessions.handlers.context import Context, current_turn, use_context
from chatsessions.handlers.emitter import Turn
from chatsessions.handlers.session import Session, in_language_of
from chatsessions.timers import deadline

from .host import SessionHost

logger = logging.getLogger("chatsessions.live")


class SessionTasks:
    """
    Owns tasks: the session stays in memory while they run, and their exceptions are logged.

    ``done`` is called when a task has ended, ``turn_done`` when the last one of a turn has ended.
    """

    def __init__(
        self,
        label: str,
        session: Session,
        *,
        done: Callable[[], None],
        turn_done: Callable[[Turn], None],
    ) -> None:
        self._label = label
        self._session = session
        self._done = done
        self._turn_done = turn_done
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.get_ident()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(
        self, coroutine: Coroutine[Any, Any, Any], name: str | None = None
    ) -> asyncio.Task[Any]:
        """Start a task that belongs to the current turn. Raises ``RuntimeError`` in a thread."""
        if threading.get_ident() != self._thread:
            raise RuntimeError("spawn() starts a task of the event loop; call it from async code.")
        task = asyncio.get_running_loop().create_task(_contained(coroutine), name=name)
        # A task that is cancelled before its first step has not begun to await it.
        task.add_done_callback(lambda _task: coroutine.close())
        turn = current_turn()
        if turn is not None:
            turn.spawned.add(task)
            task.add_done_callback(partial(self._spawned_ended, turn))
        self.own(task)
        return task

    def own(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, TurnStopped):
            env = self._session.env
            message = "%s: the task %s failed"
            log_error(logger, env, message, self._label, task.get_name(), error=error)
        self._done()

    def _spawned_ended(self, turn: Turn, task: asyncio.Task[Any]) -> None:
        turn.spawned.discard(task)
        if not turn.spawned:
            self._turn_done(turn)


class Lifespan:
    """
    Runs ``@chat.session_lifespan`` and ``@chat.on_session_unload`` in one task.

    The task runs from :meth:`start` until the session leaves this worker's memory. Setting up and
    tearing down have ``LIFESPAN_TIMEOUT`` seconds each.
    """

    def __init__(
        self,
        chat: Chat,
        session: Session,
        worker: SessionHost,
        *,
        context: Callable[..., Context],
    ) -> None:
        self._chat = chat
        self._session = session
        self._context = context
        self._worker = worker
        #: Whether handlers have run, so that there may be something to unload.
        self._begun = False
        #: The exception that the set-up has raised.
        self._error: Exception | None = None
        self._is_stopped = False
        #: Set when the task has set up, and when it has to tear down.
        self._settled: asyncio.Event | None = None
        self._stopped: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> Handler | None:
        """
        Note that handlers are about to run.

        Returns the one that runs the set-up, before all others; None if there is no lifespan.
        """
        self._begun = True
        if "session_lifespan" not in self._chat.hooks:
            return None
        return Handler(function=self.start, takes_argument=False, is_async=True)

    async def start(self) -> None:
        """Run the generator up to its ``yield``. Raises the exception of the generator."""
        if self._is_stopped:
            return  # and unloaded
        generator = self._chat.hooks["session_lifespan"].function()
        settled, stopped = self._settled, self._stopped = asyncio.Event(), asyncio.Event()
        self._task = self._worker.start_lifespan(
            self._run(generator, settled, stopped, writer=current_turn())
        )
        await settled.wait()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Start the tear-down, as the session leaves this worker's memory. Does not wait for it."""
        if self._is_stopped:
            return
        self._is_stopped = True
        if self._stopped is not None:
            self._stopped.set()
        if self._task is None:
            if self._begun and "session_unload" in self._chat.hooks:
                self._task = self._worker.start_lifespan(self._tear_down(None))
        elif self._settled is not None and not self._settled.is_set():
            self._task.cancel()

    async def _run(
        self,
        generator: AsyncGenerator[Any, None],
        settled: asyncio.Event,
        stopped: asyncio.Event,
        *,
        writer: Turn | None,
    ) -> None:
        # This code runs in no turn. The job that waits for the set-up closes the set-up's streams.
        context = self._context(None, writer=writer)
        with in_language_of(self._session), use_context(context):
            try:
                is_set_up = await self._set_up(generator)
            finally:
                settled.set()
            await stopped.wait()
        # If the set-up failed, the session has run without it, and its unload hook still runs.
        await self._tear_down(generator if is_set_up else None)

    async def _tear_down(self, generator: AsyncGenerator[Any, None] | None) -> None:
        context = self._context(None)
        # This worker no longer owns the session, and its values can only be read.
        context.user_session = context.user_session.for_reading()
        with in_language_of(self._session), use_context(context):
            if "session_unload" in self._chat.hooks:
                await self._within_deadline("on_session_unload", self._unload)
            if generator is not None:
                await self._within_deadline("session_lifespan", partial(_finish, generator))

    async def _set_up(self, generator: AsyncGenerator[Any, None]) -> bool:
        try:
            async with deadline(settings.LIFESPAN_TIMEOUT) as timeout:
                await anext(generator)
        except StopAsyncIteration:
            self._error = ChatSessionsError("session_lifespan has ended without a yield.")
        except (Exception, SystemExit) as error:
            self._error = _reason("session_lifespan", error, timeout)
        return self._error is None

    async def _unload(self) -> None:
        handler = self._chat.hooks["session_unload"]
        if handler.is_async:
            await handler(None)
        else:
            await self._worker.threads.handle(partial(handler, None))

    async def _within_deadline(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        """Await ``step`` and log its exception, so that the other steps run all the same."""
        try:
            async with deadline(settings.LIFESPAN_TIMEOUT) as timeout:
                await step()
        except (Exception, SystemExit) as raised:
            error = _reason(name, raised, timeout)
            session = self._session
            message = "Session %s, %s: %s failed at the end"
            arguments = (session.id, self._chat.name, name)
            log_error(logger, session.env, message, *arguments, error=error)


async def _contained(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Await ``coroutine``. A ``sys.exit()`` in it fails the task, and does not end the server."""
    try:
        return await coroutine
    except SystemExit as error:
        raise _exited(error) from error


def _exited(error: SystemExit) -> ChatSessionsError:
    return ChatSessionsError(f"sys.exit({error.code!r}) was called, which ends no server.")


def _reason(name: str, error: Exception | SystemExit, timeout: asyncio.Timeout) -> Exception:
    if isinstance(error, SystemExit):
        return _exited(error)
    if not timeout.expired():
        return error
    return ChatSessionsError(
        f"{name} was cancelled after {settings.LIFESPAN_TIMEOUT:g} seconds (LIFESPAN_TIMEOUT)."
    )


async def _finish(generator: AsyncGenerator[Any, None]) -> None:
    """Run the part of the generator after its ``yield``."""
    try:
        await anext(generator)
    except StopAsyncIteration:
        return
    await generator.aclose()
    raise ChatSessionsError("session_lifespan has to yield once.")

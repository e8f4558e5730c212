"""``SessionTasks``: the tasks that run for a session beside its turns."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from chatsessions.auth.env import log_error
from chatsessions.exceptions import TurnStopped
from chatsessions.handlers.context import current_turn
from chatsessions.handlers.emitter import Turn
from chatsessions.storage.session import Session

logger = logging.getLogger("chatsessions.live")


class SessionTasks:
    """
    Owns tasks: a session stays in memory while they run, and what they raise is logged.

    ``done`` is called after each; ``turn_done`` when the last one that a turn has spawned is.
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
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
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

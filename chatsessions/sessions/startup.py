"""``Startup``: what happens first when a worker takes a session, a new one or a stored one."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from chatsessions.handlers.chat import (
    ANSWER,
    START,
    Chat,
)
from chatsessions.handlers.emitter import Turn
from chatsessions.storage.journal import Position
from chatsessions.storage.store import Loaded

from .handling import Handling, SettingsForm
from .history import InterruptedWork, ThreadContinuation
from .pending import PendingChange
from .tasks import Lifespan
from .turns import (
    Job,
    turn_job,
)


class StartupHost(Protocol):
    """What the beginning needs of its session."""

    chat: Chat
    draft: PendingChange
    position: Position
    handling: Handling
    lifespan: Lifespan
    form: SettingsForm

    def say(self, name: str, data: Any, *, turn: int | None = None) -> None: ...


class Startup:
    """Runs what comes before anything else, once."""

    __slots__ = ("_begun", "_host", "_left", "_past")

    def __init__(
        self, host: StartupHost, loaded: Loaded | None, past: ThreadContinuation | None
    ) -> None:
        self._host = host
        self._left = None if loaded is None else InterruptedWork.of(loaded)
        self._past = past
        self._begun = False

    @property
    def is_ahead(self) -> bool:
        """Whether the session was made here, and this is still to come."""
        return not self._begun and self._left is None

    def begin(self, *, run: bool = True) -> None:
        """Begin, unless it has; without ``run`` the session ends, and nothing waits."""
        if self._begun:
            return
        self._begun = True
        host = self._host
        host.lifespan.begin()
        set_up = host.lifespan.handler
        if set_up is not None:
            turn = Turn(None, "session_lifespan")
            host.handling.turns.add(Job(turn=turn, handler=set_up, has_deadline=True))
        host.handling.add_hook("session_load")
        left, self._left = self._left, None
        if left is not None:
            self._recover(left, run=run)
            return
        past, self._past = self._past, None
        if past is not None:
            host.form.tell(past)
        start = host.chat.hooks.get("chat_start" if past is None else "chat_resume")
        if run and start is not None:
            host.position.running = 0  # from now on a crash leaves a turn that was cut short
            host.handling.turns.add(turn_job(0, START, start, past and past.thread))

    def _recover(self, left: InterruptedWork, *, run: bool) -> None:
        """A session from the store: close what a crash left open, go on with what waits."""
        host, handling = self._host, self._host.handling
        for message in left.streams:
            host.say("message_update", message | {"streaming": False})
        if left.streams:
            host.draft.set(streams=[])
        for ask in left.asks:
            host.say("ask_closed", {"call": ask["call"], "outcome": "cancelled"})
        if left.asks:
            host.draft.set(asks=[])
        for cut in left.cut:
            detail = "The server was interrupted while it worked on this."
            host.say("error", {"code": "interrupted", "detail": detail}, turn=cut.turn)
            handling.end_turn(cut.turn, cut.name, "interrupted", seconds=0.0)
            handling.add_hook("interrupted", cut)
        for event in left.waiting:
            if event.name == ANSWER:
                handling.is_handled(event.n)
            elif run and event.data is not None:
                handling.add(event.n, event.name, msgspec.json.decode(event.data))
            else:
                handling.end_turn(event.n, event.name, "interrupted", seconds=0.0)

"""
``Handling``: what is around a session's turns.

Which job an event becomes, what its handler sees, and what is stored and told of its beginning
and its end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings as django_settings

from chatsessions import signals
from chatsessions.auth import env
from chatsessions.conf import settings
from chatsessions.exceptions import StorageError
from chatsessions.handlers.chat import Chat
from chatsessions.handlers.context import Context
from chatsessions.handlers.emitter import Turn
from chatsessions.handlers.messages import Message
from chatsessions.handlers.session import Session
from chatsessions.handlers.user_session import UserSession
from chatsessions.input_widget import check_settings
from chatsessions.models import ChatSession
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import Handled
from chatsessions.storage.journal import Position

from .asks import OfferedActions
from .files import SessionFiles
from .history import ThreadContinuation
from .outbound import SessionSink
from .pending import PendingChange
from .ports import Host
from .turns import (
    Job,
    NoHandler,
    Turns,
    event_job,
    hook_job,
    turn_job,
)

logger = logging.getLogger("chatsessions.live")


class FormHost(Protocol):
    """What the form needs of its session."""

    session: Session
    draft: PendingChange

    def say(self, name: str, data: Any, *, turn: int | None = None) -> None: ...


class SettingsForm:
    """The inputs that the client is shown, and what it may set by them."""

    __slots__ = ("_host", "_inputs")

    def __init__(self, host: FormHost, inputs: list[dict[str, Any]]) -> None:
        self._host = host
        self._inputs = inputs

    def check(self, data: dict[str, Any], *, n: int) -> None:
        """Raise ``FrameError`` for values that event ``n`` may not set."""
        check_settings(self._inputs, data, n=n)

    def declare(
        self, inputs: list[dict[str, Any]], values: dict[str, Any], *, turn: int | None
    ) -> None:
        """The inputs from now on, and their values."""
        host = self._host
        host.say("settings_form", {"inputs": inputs}, turn=turn)
        host.say("settings", values, turn=turn)
        self._inputs = inputs
        host.session.chat_settings.clear()
        host.session.chat_settings.update(values)
        host.draft.set(inputs=inputs, chat_settings=dict(values))

    def update(self, n: int, data: dict[str, Any]) -> None:
        """What event ``n`` sets. Raises ``FrameError``."""
        self.check(data, n=n)  # they may be others than when it was accepted
        host = self._host
        changed = host.session.chat_settings | data
        host.say("settings", changed)
        host.session.chat_settings.update(data)
        host.draft.set(chat_settings=changed)

    def tell(self, past: ThreadContinuation) -> None:
        """The client of a new session on an old thread knows nothing of what was declared there."""
        if past.inputs:
            self._host.say("settings_form", {"inputs": past.inputs})
        if past.inputs or past.chat_settings:
            self._host.say("settings", past.chat_settings)


class HandlingHost(Protocol):
    """What handling needs of its session."""

    host: Host
    loop: asyncio.AbstractEventLoop
    chat: Chat
    session: Session
    user_session: UserSession
    draft: PendingChange
    position: Position
    sink: SessionSink
    files: SessionFiles
    form: SettingsForm
    offers: OfferedActions
    closed: bool

    @property
    def id(self) -> UUID: ...

    def context(self, turn: Turn | None) -> Context: ...

    def collect(self) -> StorageError | None:
        """Look for changes inside values; what cannot be stored any more is refused."""

    def when_stored(self, callback: Callable[[], None]) -> None: ...

    def note(self) -> None: ...

    def say(self, name: str, data: Any, *, turn: int | None = None) -> None: ...

    def tell(self, frame: frames.ServerFrame) -> None: ...


class Handling:
    """The ``TurnHost`` of one session."""

    def __init__(self, host: HandlingHost, row: ChatSession) -> None:
        self.loop = host.loop
        self.turns = Turns(self)
        self.handled = Handled(row.handled, row.handled_ahead)
        self._host = host
        self._aside: int | None = row.aside

    # Jobs

    def add(self, n: int, name: str, data: Any, *, size: int = 0) -> None:
        """Queue the turn of event ``n``, which keeps ``size`` bytes while it waits."""
        job = self._job(n, name, data)
        job.size = size
        self.turns.add(job)

    def add_hook(self, name: str, argument: Any = None) -> None:
        """Queue a lifecycle hook, if the application has it."""
        if name in self._host.chat.hooks:
            job = hook_job(self._host.chat, name, argument)
            # Not before it is sure that the session is ours: its last owner may have woken up.
            job.waits_for_store = name == "interrupted"
            job.sets_up = name == "session_load"
            self.turns.add(job)

    def stop(self) -> None:
        """The client stops the running turn."""
        if self.turns.number is None:
            return  # a hook is no turn of the client's
        if self.turns.cancel("stopped") and "stop" in self._host.chat.hooks:
            job = hook_job(self._host.chat, "stop")
            job.waits_for_store = True  # the client hears first that the turn is stopped
            self.turns.add(job, first=True)

    def clear(self) -> None:
        """
        The session ends: what waits is stopped before it began, the rest now.

        What sets up goes before ``on_chat_end`` all the same.
        """
        for job in self.turns.clear():
            if job.turn.n is not None:
                self.end_turn(job.turn.n, job.turn.name, "stopped", seconds=0.0)
        self.turns.cancel("stopped")

    def _job(self, n: int, name: str, data: Any) -> Job:
        chat = self._host.chat
        if name == "message":
            return self._message_job(n, data)
        if name != "settings":
            return event_job(chat, self._host.id, n, name=name, data=data)
        job = turn_job(n, name, chat.hooks.get(name), self._host.session.chat_settings)
        job.prepare = partial(self._host.form.update, n, data)
        job.needs_handler = False
        job.overtakes = True
        return job

    def _message_job(self, n: int, data: dict[str, Any]) -> Job:
        job = event_job(self._host.chat, self._host.id, n, name="message", data=data)
        if data.get("files"):
            job.load = partial(self._load_files, job.argument, data["files"])
        return job

    async def _load_files(self, message: Message, ids: list[str]) -> None:
        message.files = await self._host.files.named(ids)

    # TurnHost

    def context(self, turn: Turn) -> Context:
        return self._host.context(turn)

    async def run_in_thread(self, function: Callable[[], Any]) -> Any:
        return await self._host.host.run_in_thread(function)

    def when_stored(self, callback: Callable[[], None]) -> None:
        self._host.when_stored(callback)

    def turn_waits(self, job: Job) -> None:
        if job is self.turns.aside:
            self._aside = job.turn.n
            self._host.draft.set(aside=job.turn.n)
        else:
            self._host.position.running = job.turn.n

    def turn_put_back(self, job: Job) -> None:
        self._runs_no_more(job.turn.n)

    def turn_starts(self, job: Job) -> None:
        if job.handler is not None and job.handler.is_async:
            self._host.host.refresh_connections()
        if job.turn.n is not None:
            self._host.tell(frames.TurnStatus(job.turn.n, job.turn.name, "running"))

    def turn_ends(self, job: Job, status: str, error: BaseException | None) -> None:
        host, turn = self._host, job.turn
        unclosed = None if turn.spawned else self.close_streams(turn)
        refused = host.collect() or host.sink.error or unclosed
        host.sink.error = None
        if refused is not None and status == "done":
            status, error = "failed", refused
        if status == "failed" and error is not None:
            self._report(turn, error)
            if job.handler is not None and job.handler.is_async:
                host.host.refresh_connections(failed=True)
        self.settle(turn)
        if turn.n is None:
            host.note()
        elif status != "interrupted":  # of that, whoever takes the session next tells
            self.end_turn(turn.n, turn.name, status, seconds=self.loop.time() - job.started)

    def idle(self) -> None:
        """Nothing is left to run: a session that nobody is connected to may be let go."""
        self._host.note()

    # The end of a turn

    def end_turn(self, n: int, name: str, status: str, *, seconds: float) -> None:
        """Turn ``n`` is over: store that, then tell it."""
        host = self._host
        self._runs_no_more(n)
        self.is_handled(n)
        if status != "done":
            host.draft.set_outcome(n, status)
        host.position.turns_failed += status == "failed"
        host.when_stored(partial(self._turn_stored, n, name, status, seconds))

    def is_handled(self, n: int) -> None:
        """Nothing more comes of event ``n``."""
        if self.handled.add(n):
            self._host.draft.set(handled_ahead=self.handled.ahead)
        self._host.position.handled = self.handled.up_to

    def settle(self, turn: Turn | None) -> None:
        """What ``turn`` got out of user_session is no longer looked at, unless another runs."""
        if not self.turns.has_other(turn):
            self._host.user_session.settle()

    def spawned_done(self, turn: Turn) -> None:
        """The last task that ``turn`` has spawned is through."""
        if not self._host.closed and not self.turns.is_running(turn):
            self.close_streams(turn)

    def finish(self) -> None:
        """The session is over: nothing runs, and all that was accepted is done with."""
        draft, position = self._host.draft, self._host.position
        if position.running is not None:  # the server died before it was stopped for the end
            draft.set_outcome(position.running, "interrupted")
        position.running = None
        if self._aside is not None:
            draft.set_outcome(self._aside, "interrupted")
            draft.set(aside=None)
        if self.handled.all(position.accepted):
            draft.set(handled_ahead=[])
        position.handled = self.handled.up_to

    def _runs_no_more(self, n: int | None) -> None:
        if n is not None and n == self._aside:
            self._aside = None
            self._host.draft.set(aside=None)
        else:
            self._host.position.running = None

    def _turn_stored(self, n: int, name: str, status: str, seconds: float) -> None:
        host = self._host
        host.tell(frames.TurnStatus(n, name, status))
        host.host.send_signal(
            signals.turn_finished,
            host.chat,
            session=host.session,
            turn=n,
            name=name,
            status=status,
            seconds=seconds,
        )

    def close_streams(self, turn: Turn) -> StorageError | None:
        """``turn`` is over, and nothing that it spawned runs any more."""
        host = self._host
        error = None
        for stream in host.sink.streams.take(turn):
            try:
                event = stream.as_event()
                host.say("message_update", event, turn=turn.n)
                host.offers.offer(stream.id, event.get("actions", []))
            except StorageError as refused:
                error = refused
                host.say("message_update", _salvaged(stream.as_event()), turn=turn.n)
        return error

    def _report(self, turn: Turn, error: BaseException) -> None:
        """A handler failed: the log of the server gets everything, the client that it failed."""
        host = self._host
        if isinstance(error, NoHandler):
            logger.warning("Session %s, %s: %s", host.id, host.chat.name, error)
            code = "no_handler"
        else:
            env.log_error(
                logger,
                host.session.env,
                "Session %s, %s: the handler of %s failed",
                host.id,
                host.chat.name,
                turn.name,
                error=error,
            )
            code = "handler_error"
        if turn.n is not None:
            generic = "Something went wrong. Please try again."
            shown = code == "no_handler" or django_settings.DEBUG
            told = str(error) if code == "no_handler" else f"{type(error).__name__}: {error}"
            detail = _printable(told) if shown else generic
            detail = env.hide(detail, host.session.env)
            host.say("error", {"code": code, "detail": detail}, turn=turn.n)


def _printable(text: str) -> str:
    """``text`` without what UTF-8 cannot write: halves of surrogate pairs."""
    return text.encode(errors="replace").decode()


def _salvaged(message: dict[str, Any]) -> dict[str, Any]:
    """What can be sent of a streamed message that cannot be sent as it is."""
    # A character takes at most six bytes in JSON.
    content = _printable(message["content"])[: settings.MAX_EVENT_BYTES // 8]
    kept = {
        key: message[key] for key in ("id", "created_at", "streaming", "files") if key in message
    }
    return kept | {"author": _printable(message["author"]), "content": content}

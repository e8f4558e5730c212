"""What a session's client can choose: answers to questions, offered actions, settings."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
from django.utils.translation import gettext, ngettext

from chatsessions.conf import settings
from chatsessions.exceptions import FrameError
from chatsessions.handlers.emitter import Turn
from chatsessions.handlers.session import Session
from chatsessions.input_widget import check_settings
from chatsessions.timers import Timer

from .history import ThreadContinuation
from .pending import SessionLog
from .turns import Turns


class OfferedActions:
    """
    The actions that messages offer, by id; kept in the row, so that buttons survive a restart.

    Only the latest ``MAX_ACTIONS`` are kept, so that a long conversation does not grow the row. As
    many withdrawn actions are remembered, so that an update of their messages leaves them out.
    """

    def __init__(self, log: SessionLog, stored: dict[str, dict[str, Any]]) -> None:
        self._log = log
        self._offered = {key: one for key, one in stored.items() if "name" in one}
        #: The messages of withdrawn actions.
        self._withdrawn = {key: one for key, one in stored.items() if "name" not in one}

    def offer(self, message: str, actions: list[dict[str, Any]]) -> None:
        """Set the actions that message ``message`` offers."""
        kept = {key: offer for key, offer in self._offered.items() if offer["message"] != message}
        if not actions and len(kept) == len(self._offered):
            return
        # Copies, as the application may change the payload of an action that is offered.
        kept |= {one["id"]: {**msgspec.to_builtins(one), "message": message} for one in actions}
        self._set(kept, {key: one for key, one in self._withdrawn.items() if key not in kept})

    def find(self, action: str) -> dict[str, Any] | None:
        """Return the offer with the id ``action``, if there is one. A new offer is a new object."""
        return self._offered.get(action)

    def withdraw(self, action: str) -> None:
        """Stop offering ``action``, and remember that it was withdrawn."""
        kept = dict(self._offered)
        message = kept.pop(action)["message"]
        self._set(kept, self._withdrawn | {action: {"message": message}})

    def withdrawn(self, message: str) -> set[str]:
        """Return the ids of the actions of ``message`` that were withdrawn."""
        return {key for key, one in self._withdrawn.items() if one["message"] == message}

    def _set(
        self, offered: dict[str, dict[str, Any]], withdrawn: dict[str, dict[str, Any]]
    ) -> None:
        self._offered = dict(list(offered.items())[-settings.MAX_ACTIONS :])
        self._withdrawn = dict(list(withdrawn.items())[-settings.MAX_ACTIONS :])
        self._log.set(actions=self._withdrawn | self._offered)

    def of(self, message: str) -> list[dict[str, Any]]:
        """Return the actions that ``message`` still offers, as they go over the wire."""
        return [
            {key: value for key, value in offer.items() if key != "message"}
            for offer in self._offered.values()
            if offer["message"] == message
        ]

    def chosen(self, data: dict[str, Any], *, n: int) -> bytes:
        """
        Return the chosen action as JSON, as it was offered; the client's other data is ignored.

        Raises ``FrameError`` ``forbidden`` if it is not offered.
        """
        offer = self._offered.get(data["id"])
        if offer is None or offer["name"] != data["name"]:
            raise FrameError("forbidden", gettext("This action is not offered any more."), n=n)
        return msgspec.json.encode(offer)


class SettingsForm:
    """The inputs of the chat settings: checks and sets the client's values."""

    __slots__ = ("_inputs", "_log", "_session")

    def __init__(self, session: Session, log: SessionLog, inputs: list[dict[str, Any]]) -> None:
        self._session = session
        self._log = log
        self._inputs = inputs

    def check(self, data: dict[str, Any], *, n: int) -> None:
        """Raise ``FrameError`` if the inputs do not allow the values of event ``n``."""
        check_settings(self._inputs, data, self._session.chat_settings, n=n)

    def declare(
        self, inputs: list[dict[str, Any]], values: dict[str, Any], *, turn: int | None
    ) -> None:
        """Set the inputs and their values."""
        self._log.say("settings_form", {"inputs": inputs}, turn=turn)
        self._log.say("settings", values, turn=turn)
        self._inputs = msgspec.to_builtins(inputs)
        self._session.chat_settings.clear()
        # Copies: the application may change lists among the values, before they are stored and in
        # inputs that all sessions share.
        self._session.chat_settings.update(msgspec.to_builtins(values))
        self._log.set(inputs=self._inputs, chat_settings=msgspec.to_builtins(values))

    def update(self, n: int, data: dict[str, Any]) -> None:
        """Set the values of event ``n``. Raises ``FrameError``."""
        self.check(data, n=n)  # the inputs may have changed since the event was accepted
        changed = self._session.chat_settings | data
        self._log.say("settings", changed)
        self._session.chat_settings.update(data)
        self._log.set(chat_settings=msgspec.to_builtins(changed))

    def tell(self, past: ThreadContinuation) -> None:
        """Send a new session's client the settings of the thread it continues."""
        if past.inputs:
            self._log.say("settings_form", {"inputs": past.inputs})
        if past.inputs or past.chat_settings:
            self._log.say("settings", past.chat_settings)


#: The most questions that may be open in one session at a time.
MAX_OPEN = 100


class TextAnswer(msgspec.Struct):
    content: str


class ActionAnswer(msgspec.Struct):
    id: str


class FilesAnswer(msgspec.Struct):
    files: list[UUID]


#: The type of the answer, by the kind of the question. Other kinds take any JSON.
ANSWERS: dict[str, Any] = {"text": TextAnswer, "action": ActionAnswer, "files": FilesAnswer}


@dataclass(slots=True, eq=False)
class Ask:
    """One open question."""

    event: dict[str, Any]
    #: The number of the turn that asks; None if no turn does.
    turn: int | None
    #: The answer, or an exception after a timeout or if nobody can answer any more.
    outcome: asyncio.Future[Any]
    timer: Timer | None = None


class Asks:
    """
    Asks questions, and gives each exactly one outcome: answered, timeout or cancelled.

    The open ones are in the row, so that the next owner can close them after a crash.
    """

    def __init__(self, log: SessionLog, turns: Turns) -> None:
        self._log = log
        self._turns = turns
        self._open: dict[str, Ask] = {}
        #: The questions whose callers wait: the open ones, and those whose answer is not stored.
        self._waiting: list[Ask] = []

    async def call(
        self, kind: str, data: dict[str, Any], *, timeout: float | None, turn: Turn | None
    ) -> Any:
        """
        Ask the client, and return its answer once it is stored.

        Meanwhile handlers of actions, settings and feedback may run. If one of them still runs when
        the answer comes, this waits until that handler has ended. Raises ``TimeoutError`` after
        ``timeout`` seconds, ``SessionOver`` and ``OwnershipLost`` if nobody can answer any more.
        """
        if len(self._open) >= MAX_OPEN:
            raise RuntimeError(f"The session has {MAX_OPEN} open questions already.")
        ask = self._ask(kind, data, timeout, turn)
        self._waiting.append(ask)
        try:
            with self._turns.waiting_for_answer(turn):
                await asyncio.wait([ask.outcome])
        finally:
            self._waiting.remove(ask)
            self._close(ask, "cancelled")
        await self._turns.alone(turn)
        self._log.check(turn)
        return ask.outcome.result()

    def _ask(
        self, kind: str, data: dict[str, Any], timeout: float | None, turn: Turn | None
    ) -> Ask:
        loop = asyncio.get_running_loop()
        call = str(uuid4())
        deadline = None if timeout is None else datetime.now(UTC) + timedelta(seconds=timeout)
        event = {**data, "call": call, "kind": kind, "deadline": deadline, "timeout": timeout}
        n = None if turn is None else turn.n
        self._log.say("ask", event, turn=n)
        ask = self._open[call] = Ask(event, n, loop.create_future())
        if timeout is not None:
            ask.timer = Timer(loop, timeout, self._expire, ask)
        self._keep()
        return ask

    def find(self, call: str) -> Ask | None:
        """Return the question ``call``, None if it is not open."""
        return self._open.get(call)

    def check(self, call: str, data: Any, *, n: int) -> None:
        """Raise ``FrameError`` ``bad_frame`` if ``data`` is no answer to the question ``call``."""
        ask = self._open.get(call)
        if ask is None:
            return
        try:
            answer = msgspec.convert(data, ANSWERS.get(ask.event["kind"], Any))
        except msgspec.ValidationError as error:
            raise FrameError("bad_frame", f"the answer: {error}"[:300], n=n) from error
        if isinstance(answer, ActionAnswer):
            offered = [action["id"] for action in ask.event.get("actions", ())]
            if answer.id not in offered:
                raise FrameError("bad_frame", gettext("This answer was not offered."), n=n)
        if isinstance(answer, FilesAnswer):
            most = ask.event.get("max_files", 1)
            if not 1 <= len(answer.files) <= most:
                detail = ngettext(
                    "One file is asked for.", "1 to %(most)d files are asked for.", most
                )
                raise FrameError("bad_frame", detail % {"most": most}, n=n)

    def answer(self, call: str, data: Any) -> bool:
        """Answer the question ``call``; return False if it is not open."""
        ask = self._open.get(call)
        if ask is None:
            return False
        self._close(ask, "answered")
        outcome = ask.outcome
        self._log.then(lambda: None if outcome.done() else outcome.set_result(data))
        return True

    def cancel(self, error: Exception) -> None:
        """Close all questions, as nobody can answer any more; their callers get ``error``."""
        for ask in list(self._open.values()):
            self._close(ask, "cancelled")
            _fail(ask, error)

    def drop(self, error: Exception) -> None:
        """Cancel all questions, also those with an answer that is not stored and never will be."""
        self.cancel(error)
        for ask in self._waiting:
            _fail(ask, error)

    def _expire(self, ask: Ask) -> None:
        self._close(ask, "timeout")
        _fail(ask, TimeoutError())

    def _close(self, ask: Ask, outcome: str) -> None:
        """Close a question with ``outcome``; do nothing if it is closed already."""
        if self._open.pop(ask.event["call"], None) is None:
            return
        if ask.timer is not None:
            ask.timer.cancel()
        if not self._log.is_closed:
            closed = {"call": ask.event["call"], "outcome": outcome}
            self._log.say("ask_closed", closed, turn=ask.turn)
            self._keep()

    def _keep(self) -> None:
        self._log.set(asks=[{"call": call} for call in self._open])


def _fail(ask: Ask, error: Exception) -> None:
    if not ask.outcome.done():
        ask.outcome.set_exception(error)
        # Mark it as retrieved, or asyncio logs it when a stopped handler never reads it.
        ask.outcome.exception()

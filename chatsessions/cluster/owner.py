"""
What the owner of a session does for others: for clients at other workers, and for outside code.

A change comes again if its answer was lost, and is made once.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser

from chatsessions.conf import settings
from chatsessions.exceptions import FrameError
from chatsessions.handlers.emitter import Streaming, Turn
from chatsessions.handlers.steps import ended, is_step
from chatsessions.protocol import frames
from chatsessions.sessions.session import LiveSession
from chatsessions.sessions.subscribers import Subscriber

from .commands import (
    AddToken,
    Append,
    Apply,
    Assign,
    Call,
    CloseStream,
    Declare,
    Drop,
    End,
    Offer,
    OpenStream,
    Put,
    Step,
    Withdraw,
)

#: How many changes a session remembers, to recognize one that comes twice.
REMEMBERED = 20


async def take_frame(
    live: LiveSession, subscriber: Subscriber, raw: msgspec.Raw
) -> frames.Error | None:
    """Give a session a frame of the client of ``subscriber``; return the error if it is refused."""
    frame = frames.decode(bytes(raw).decode())
    if isinstance(frame, frames.End):
        live.end("user")
    elif isinstance(frame, frames.Stop):
        live.stop()
    elif isinstance(frame, frames.ClientEvent | frames.Answer):
        try:
            await live.receive(subscriber, frame, frames.decode_data(frame))
        except FrameError as error:
            return frames.error_of(error)
    return None


# Commands from outside


async def carry_out(live: LiveSession, command: Apply | Call | End) -> Any:
    """Do a command in a session that this worker holds; return its result."""
    match command:
        case Apply():
            return await apply(live, command)
        case Call(kind=kind, data=data, timeout=timeout):
            return await live.sink.call(kind, data, timeout=timeout, turn=None)
        case End():
            return await _end(live, command)


async def apply(live: LiveSession, change: Apply) -> None:
    """
    Make ``change`` in a session that this worker holds, and wait until it is stored.

    Raises ``TooLarge`` if the values would be too large, ``SessionOver``, ``OwnershipLost``,
    ``StoreUnavailable``.
    """
    writer = live.writers.heard(change.writer, change.worker)
    try:
        if not change.steps:
            return
        if change.number not in live.applied:
            live.log.check(None)
            live.values.raise_error()
            live.user_session.put_encoded(
                {step.key: step.value for step in change.steps if isinstance(step, Put)},
                drops=[step.key for step in change.steps if isinstance(step, Drop)],
            )
            for step in change.steps:
                await _do(live, step, writer)
            live.applied = [*live.applied, change.number][-REMEMBERED:]
            live.log.set(applied=live.applied)
        await live.sink.flush()
    finally:
        live.writers.settle(change.writer)


async def _end(live: LiveSession, command: End) -> bool:
    """
    End a session, and wait until that is stored.

    Return False for a command ``if_expired`` if the session has not expired. Raises the error that
    prevents the end from being stored.
    """
    if not command.if_expired:
        live.end(command.reason)
    elif not live.expire():
        return False
    await live.until_closed()
    if live.failure is not None:
        raise live.failure
    return True


async def _do(live: LiveSession, step: Step, writer: Turn) -> None:
    sink = live.sink
    match step:
        case Append():
            sink.append(step.name, bytes(step.data), None)
        case Offer():
            sink.offer(step.message, step.actions)
        case Withdraw():
            await sink.withdraw(step.action, None)
        case Declare():
            sink.declare_settings(step.inputs, step.values, None)
        case OpenStream():
            sink.open_stream(ForeignStream(step.event), writer)
        case AddToken():
            stream = sink.find_stream(step.message)
            if stream is not None:
                sink.write(stream, step.text, None, replaces=step.replaces)
        case Assign():
            live.assign_user(await live.worker.threads.read(partial(find_user, step.user)))
        case CloseStream():
            sink.close_stream(step.message)


def find_user(pk: str) -> AbstractBaseUser:
    """Read a user. Raises the model's ``DoesNotExist``."""
    users = get_user_model()._default_manager.using(settings.DATABASE)
    user: AbstractBaseUser = users.get(pk=pk)
    return user


class ForeignStream(Streaming):
    """A message or step that a block in another process streams, at the session's owner."""

    def __init__(self, event: dict[str, Any]) -> None:
        self._text_key = "output" if is_step(event) else "content"
        self.id = event["id"]
        self.content = event[self._text_key]
        self._event = self.opened = event
        self._streaming = True

    def take_off(self, action: str) -> None:
        if "actions" in self._event:
            kept = [one for one in self._event["actions"] if one["id"] != action]
            self._event = self._event | {"actions": kept}

    def end_stream(self, *, cut: bool = False) -> None:
        super().end_stream()
        self.update_name, self._event = ended(self._event, cut=cut)

    def as_event(self) -> dict[str, Any]:
        return self._event | {self._text_key: self.content}

"""
``Writers``: who streams into a session from outside of its turns.

A stream of a turn ends with the turn. One of a block elsewhere ends with the block, or when its
process is gone or silent for long.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from chatsessions.conf import settings
from chatsessions.handlers.emitter import Turn

from .handling import Handling
from .outbound import SessionSink

DETAIL = "What was writing this has stopped."


class WritersHost(Protocol):
    """What the writers need of their session."""

    loop: asyncio.AbstractEventLoop
    sink: SessionSink
    handling: Handling

    def say(self, name: str, data: object, *, turn: int | None = None) -> None:
        """An entry of our own."""

    def note(self) -> None: ...


def new_writer() -> Turn:
    """What the streams of one block are known by."""
    return Turn(None, "session_context")


@dataclass(slots=True)
class Writer:
    """A block of ``session_context()`` in another process."""

    #: The worker there; None if it did not say.
    worker: UUID | None
    turn: Turn
    heard_at: float = 0.0


class Writers:
    """The blocks elsewhere that stream into a session, by their numbers."""

    __slots__ = ("_host", "_writers")

    def __init__(self, host: WritersHost) -> None:
        self._host = host
        self._writers: dict[str, Writer] = {}

    def heard(self, number: str, worker: UUID | None) -> Turn:
        """A block was heard of; what its streams are known by."""
        writer = self._writers.setdefault(number, Writer(worker, new_writer()))
        writer.heard_at = self._host.loop.time()
        return writer.turn

    def settle(self, number: str) -> None:
        """Forget a block that streams nothing (any more)."""
        writer = self._writers.get(number)  # of changes at the same time the first one does it
        if writer is not None and not self._host.sink.streams.has_open(writer.turn):
            del self._writers[number]

    @property
    def is_writing(self) -> bool:
        """Whether somebody is in the middle of a message."""
        return bool(self._writers)

    def suspects(self) -> dict[str, Writer]:
        """Those that were not heard of for as long as one that lives would be silent at most."""
        late = self._host.loop.time() - settings.WORKER_HEARTBEAT
        return {number: one for number, one in self._writers.items() if one.heard_at < late}

    def is_lost(self, writer: Writer) -> bool:
        """Whether it has been silent for so long that it counts as dead."""
        return self._host.loop.time() - writer.heard_at > settings.WORKER_STALE

    def interrupt(self, number: str) -> None:
        """Close what a block has left open, and say that it was interrupted."""
        writer = self._writers.pop(number, None)
        if writer is not None:
            self.close(writer.turn, interrupted=True)

    def interrupt_all(self) -> None:
        """Nobody writes any more."""
        for number in list(self._writers):
            self.interrupt(number)

    def close(self, turn: Turn, *, interrupted: bool) -> None:
        """Close what ``turn`` has left open."""
        host = self._host
        if host.sink.streams.has_open(turn):
            host.handling.close_streams(turn)
            if interrupted:
                host.say("error", {"code": "interrupted", "detail": DETAIL})
        host.note()

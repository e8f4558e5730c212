"""
What one worker asks of another: the commands, their answers, and how both travel.

Pure data. A worker that does not know a command, being of an older release, answers that it
failed; whoever has asked goes the way it goes when the owner cannot be reached.
"""

from __future__ import annotations

import logging
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from chatsessions import exceptions
from chatsessions.exceptions import ChatSessionsError

logger = logging.getLogger("chatsessions.mail")


#: What may become of a session that somebody else asks for. ``relay``: its connection is there from
#: now on, whoever had it. ``give``: the same, but it is only given away. ``visit``: it is given
#: away if nobody needs it; else a request there follows it, beside whatever connection it has.
How = Literal["relay", "give", "visit"]


class _Command(Struct, tag_field="do", kw_only=True):
    """Something to be done by the owner of a session, or by whoever relays one."""


# A client at another worker than the owner's


class Attach(_Command, tag="join"):
    """A client came to another worker: give its session away, or let that worker relay it."""

    session: UUID
    #: Of the relay, and of the worker that it is at.
    relay: str
    channel: str
    #: Who has come; None for an anonymous one.
    user: str | None
    #: The hash of the token that the client came with, and that of the one that it is given.
    #: (Releases that say ``attach`` send the token itself.)
    used: str | None
    given: str
    #: How many connections the session had when the client came: if there are more by now, a
    #: newer one is not to be replaced by it.
    connections: int
    how: How


class Forward(_Command, tag="forward"):
    """Frames of the relayed client, in order."""

    relay: str
    frames: list[msgspec.Raw]


class Halt(_Command, tag="halt"):
    """The relayed client stops the running turn; it overtakes what is on its way."""

    relay: str


class Detach(_Command, tag="detach"):
    """The relayed client is gone."""

    relay: str
    code: int


class Alive(_Command, tag="alive"):
    """The relay is still there."""

    relay: str
    #: Whether its client, which has no connection, was heard of as well.
    visited: bool = False
    #: Whether that client has done something that is no event.
    acted: bool = False


# Of a client that comes by requests


class Post(_Command, tag="post"):
    """An event that nobody has numbered; answered with its turn."""

    relay: str
    name: str
    data: msgspec.Raw
    #: By which it is known if it is posted again.
    key: str | None


class Reply(_Command, tag="reply"):
    """The answer to a question, which nobody has numbered; answered with the turn that asked."""

    relay: str
    call: str
    data: msgspec.Raw


# To the worker that relays


class Told(Struct, tag="frame", omit_defaults=True):
    """A frame to pass on."""

    frame: msgspec.Raw
    #: Of the end of a turn: whether nothing else runs or waits then, and whether the session ends.
    idle: bool = False
    ending: bool = False


class Stored(Struct, tag="stored"):
    """The log is stored up to this entry."""

    head: int


class Parted(Struct, tag="parted"):
    """The connection is to be closed."""

    code: int
    ended: str | None


class Released(Struct, tag="released"):
    """Nobody owns the session any more: it is for the worker that has its connection."""


class News(_Command, tag="news"):
    """What the relayed client is to hear, in order."""

    relay: str
    items: list[Told | Stored | Parted | Released]


# From outside


class Append(Struct, tag="append"):
    """One more entry of the log."""

    name: str
    data: msgspec.Raw


class Put(Struct, tag="put"):
    """A value of ``user_session``, encoded."""

    key: str
    value: bytes


class Drop(Struct, tag="drop"):
    """A key of ``user_session`` that goes."""

    key: str


class Offer(Struct, tag="offer"):
    """The actions that a message offers from now on."""

    message: str
    actions: list[dict[str, Any]]


class Withdraw(Struct, tag="withdraw"):
    """An action that is offered no more."""

    action: str


class Declare(Struct, tag="declare"):
    """The inputs of the chat settings, and their values."""

    inputs: list[dict[str, Any]]
    values: dict[str, Any]


class OpenStream(Struct, tag="stream"):
    """A message of the log streams from now on."""

    event: dict[str, Any]


class AddToken(Struct, tag="token"):
    """One more token of a streaming message, or all of its text so far."""

    message: str
    text: str
    replaces: bool


class CloseStream(Struct, tag="whole"):
    """A streaming message is whole."""

    message: str


class Assign(Struct, tag="assign"):
    """The user, by their primary key, whose the session is from now on."""

    user: str


Step = (
    Append | Put | Drop | Offer | Withdraw | Declare | OpenStream | AddToken | CloseStream | Assign
)


class Apply(_Command, tag="apply"):
    """Change a session, in order; answered when that is stored."""

    session: UUID
    #: Of this change: one that the session has had already is not made again.
    number: str
    steps: list[Step]
    #: The block that makes it, for what it streams, and the worker that the block is at. Without
    #: steps it says that the block goes on.
    writer: str = ""
    worker: UUID | None = None


class Call(_Command, tag="call"):
    """Ask the session's client; answered with its answer."""

    session: UUID
    kind: str
    data: dict[str, Any]
    timeout: float | None


class End(_Command, tag="end"):
    """End a session; answered when that is stored."""

    session: UUID
    reason: str


class Broadcast(_Command, tag="broadcast"):
    """An event for every connected session of a chat, or of all; answered with how many."""

    name: str
    data: msgspec.Raw
    chat: str | None


#: What the other end of a relay asks of its guest.
OfGuest = Forward | Halt | Detach | Alive | Post | Reply
Command = Attach | OfGuest | News | Apply | Call | End | Broadcast


# Answers


class Attached(Struct, tag="attached", kw_only=True):
    """The session is busy: its frames come to the relay."""

    received: int
    first: int
    head: int
    turn: int | None
    #: What the turn handles.
    turn_name: str = ""
    #: Whether no turn runs or waits.
    idle: bool = False
    numbered: int
    #: The open streams, as ``stream`` frames.
    streams: list[msgspec.Raw]


class NotHere(Struct, tag="gone"):
    """The worker does not hold the session (any more), or the relay: look again."""


class NotResumed(Struct, tag="not_resumed"):
    """The client does not get the session back; ``reason`` as ``welcome`` has it."""

    reason: str


class Busy(Struct, tag="busy"):
    """The session cannot be given away now."""


class Done(Struct, tag="done"):
    """It is done; ``value`` is what came of it."""

    value: Any = None


class Posted(Struct, tag="posted", kw_only=True):
    """What somebody posted is taken: its turn, and behind which entry what comes of it begins."""

    turn: int
    name: str
    after: int
    #: How it has ended; None if its turn has not come to its end.
    outcome: str | None = None
    #: Up to where the log is stored.
    head: int


class Failed(Struct, tag="failed"):
    """It raised: the name of the exception, what it says, and what it carries."""

    error: str
    text: str
    carries: dict[str, Any] = {}  # msgspec copies it


Answer = Attached | NotHere | NotResumed | Busy | Done | Posted | Failed

_encoder = msgspec.json.Encoder()
_commands: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)


def encode(something: Command | Answer) -> bytes:
    """A command or an answer as bytes."""
    return _encoder.encode(something)


def decode_command(raw: bytes) -> Command:
    """Raises ``msgspec.ValidationError`` for a command of another release."""
    return _commands.decode(raw)


def decode_answer(raw: bytes) -> Answer:
    """
    An answer that is no failure.

    Raises what the other worker raised, and ``ChatSessionsError`` for what cannot be read.
    """
    try:
        answer = _answers.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ChatSessionsError(f"The other worker's answer cannot be read: {error}") from error
    if isinstance(answer, Failed):
        raise _raised(answer)
    return answer


def failure_of(error: Exception) -> Failed:
    """What the other side is told of an exception: the package's own as they are."""
    if isinstance(error, ChatSessionsError | TimeoutError):
        carries = {
            name: str(value) if isinstance(value, UUID) else value
            for name, value in vars(error).items()
            if isinstance(value, str | int | float | UUID | None)
        }
        return Failed(type(error).__name__, str(error), carries)
    logger.error("A command from another worker failed", exc_info=error)
    return Failed(
        "ChatSessionsError", f"{type(error).__name__} at the session's owner: see its log"
    )


def _raised(failed: Failed) -> Exception:
    if failed.error == "TimeoutError":
        return TimeoutError(failed.text)
    kind = getattr(exceptions, failed.error, None)
    if not (isinstance(kind, type) and issubclass(kind, ChatSessionsError)):
        kind = ChatSessionsError
    error = kind.__new__(kind, failed.text)
    Exception.__init__(error, failed.text)
    error.__dict__.update(failed.carries)
    return error

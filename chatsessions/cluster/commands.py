"""
What one worker asks of another: commands and their answers, and how both are encoded.

A worker of an older release, which does not know a command, answers that it failed. Whoever has
asked does then what it does when the owner cannot be reached.
"""

from __future__ import annotations

import logging
from typing import Any, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from chatsessions import exceptions
from chatsessions.exceptions import ChatSessionsError
from chatsessions.sessions.posted import Posted
from chatsessions.sessions.subscribers import Standing

logger = logging.getLogger("chatsessions.rpc")


#: How another worker wants to have a session. ``relay``: for its connection, which is there from
#: now on; a busy owner keeps the session. ``give``: the same, but a busy owner refuses. ``visit``:
#: for a request, beside whatever connection the session has; an owner that needs it keeps it.
How = Literal["relay", "give", "visit"]


class _Command(Struct, tag_field="do", kw_only=True):
    """Something that another worker is to do."""


# A client at another worker than the owner's


class Attach(_Command, tag="join"):
    """Give a session to the worker that its client came to, or tell that worker of it."""

    session: UUID
    #: The number of the ``RemoteSession`` there, which all that follows names.
    remote: str
    #: Where its worker is reached.
    channel: str
    #: The user's primary key; None for an anonymous client.
    user: str | None
    #: The hash of the token that the client came with, and that of the one that it is given.
    used: str | None
    given: str
    #: How many connections the session had when the client came: if there are more by now, it does
    #: not replace a newer one.
    connections: int
    how: How
    #: Whether it is for one more request of a ``RemoteSession`` that is attached already.
    again: bool = False
    #: The language that the client has named.
    language: str = ""


class Forward(_Command, tag="forward"):
    """Take frames of the client, in order. One with a ``stop`` overtakes those on their way."""

    remote: str
    frames: list[msgspec.Raw]


class Detach(_Command, tag="detach"):
    """Forget the client: it is gone."""

    remote: str
    code: int


class Alive(_Command, tag="alive"):
    """Say how the session stands, if the client is known: it is still there."""

    remote: str
    #: Whether its client, which has no connection, was heard of as well.
    visited: bool = False
    #: Whether that client has done something that is no event.
    acted: bool = False


# A client that comes by requests


class Post(_Command, tag="post"):
    """Take an event that nobody has numbered; answered with its turn."""

    remote: str
    name: str
    data: msgspec.Raw
    #: What it is known by if it is posted again.
    key: str | None


class Reply(_Command, tag="reply"):
    """Take the answer to a question, without a number; answered with the turn that asked."""

    remote: str
    call: str
    data: msgspec.Raw


# From the owner to the worker that the client is at


class Part(Struct, omit_defaults=True):
    """What a session tells at one position of its log: the end of it, then frames."""

    #: Up to where the log is stored.
    head: int
    #: Frames that are not in the log.
    frames: list[msgspec.Raw] = []
    #: Behind the status of a turn: whether no turn runs or waits, and whether the session ends.
    idle: bool | None = None
    ending: bool = False
    #: That nothing more comes: why, with which reason if the session is over, and whether the
    #: session may be had now.
    code: int | None = None
    ended: str | None = None
    released: bool = False


class Hint(Struct):
    """
    What is new in a session. It is sent once and not answered: what is lost is found otherwise.

    The entries are in the database, and so is how each turn has ended.
    """

    remote: str
    #: 1, 2, 3, …: by a hole it is known that one is lost.
    number: int
    parts: list[Part]


# From outside


class Append(Struct, tag="append"):
    """Append an entry to the log."""

    name: str
    data: msgspec.Raw


class Put(Struct, tag="put"):
    """Set a value of ``user_session``, which is encoded."""

    key: str
    value: bytes


class Drop(Struct, tag="drop"):
    """Delete a key of ``user_session``."""

    key: str


class Offer(Struct, tag="offer"):
    """Offer the actions of a message from now on."""

    message: str
    actions: list[dict[str, Any]]


class Withdraw(Struct, tag="withdraw"):
    """Offer an action no more."""

    action: str


class Declare(Struct, tag="declare"):
    """Set the inputs of the chat settings, and their values."""

    inputs: list[dict[str, Any]]
    values: dict[str, Any]


class OpenStream(Struct, tag="stream"):
    """Stream a message of the log from now on."""

    event: dict[str, Any]


class AddToken(Struct, tag="token"):
    """Add a token to a streaming message, or replace all of its text so far."""

    message: str
    text: str
    replaces: bool


class CloseStream(Struct, tag="whole"):
    """End the stream of a message, which is whole."""

    message: str


class Assign(Struct, tag="assign"):
    """Give the session to a user, named by their primary key."""

    user: str


Step = (
    Append | Put | Drop | Offer | Withdraw | Declare | OpenStream | AddToken | CloseStream | Assign
)


class Apply(_Command, tag="apply"):
    """Change a session, in order; answered when that is stored."""

    session: UUID
    #: What this change is known by: one that the session has had already is not made again.
    number: str
    steps: list[Step]
    #: The block that makes it, for what it streams, and the worker that the block is at. Without
    #: steps the command says that the block goes on.
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
    """Emit an event to every connected session of a chat, or of all; answered with how many."""

    name: str
    data: msgspec.Raw
    chat: str | None


#: What a ``RemoteSession`` asks of its owner.
OfRemote = Forward | Detach | Alive | Post | Reply
Command = Attach | OfRemote | Apply | Call | End | Broadcast


# Answers


class Attached(Struct, tag="attached"):
    """The session stays where it is, and hints come. This is how it stands."""

    standing: Standing


class Taken(Struct, tag="taken"):
    """Frames of the client are taken, but those which these errors are about."""

    errors: list[msgspec.Raw]
    #: Why its connection is to be closed, if it is.
    code: int | None = None


class NotHere(Struct, tag="gone"):
    """The worker does not have the session, or does not know the client: look again."""


class NotResumed(Struct, tag="not_resumed"):
    """The client does not get the session back; ``reason`` as ``welcome`` has it."""

    reason: str


class Busy(Struct, tag="busy"):
    """The session cannot be given away now."""


class Done(Struct, tag="done"):
    """It is done, and returned ``value``."""

    value: Any = None


class Failed(Struct, tag="failed"):
    """It raised: the exception's name, its text, and its attributes."""

    error: str
    text: str
    carries: dict[str, Any] = {}  # msgspec copies it


Answer = Attached | Taken | NotHere | NotResumed | Busy | Done | Posted | Failed

_encoder = msgspec.json.Encoder()
_commands: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_hints = msgspec.json.Decoder(Hint)


def encode(something: Command | Answer | Hint) -> bytes:
    """Encode a command, an answer or a hint."""
    return _encoder.encode(something)


def decode_command(raw: bytes) -> Command:
    """Decode a command. Raises ``msgspec.ValidationError`` for one of another release."""
    return _commands.decode(raw)


def decode_hint(raw: bytes) -> Hint:
    """Decode a hint. Raises ``msgspec.ValidationError`` for one of another release."""
    return _hints.decode(raw)


def decode_answer(raw: bytes) -> Answer:
    """
    Decode an answer.

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
    """Return an exception as an answer: the package's own as they are."""
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

"""
The commands that one worker sends another, their answers, and how both are encoded.

A worker of an older release that does not know a command answers ``Failed``. The sender then acts
as if the owner could not be reached.
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


#: What another worker needs a session for. ``relay``: for a connection there, which becomes the
#: session's connection; a busy owner keeps the session and sends hints. ``give``: for a connection
#: too, but a busy owner refuses. ``visit``: for a request there, which replaces no connection; the
#: owner keeps the session if it is busy or has the session's connection.
How = Literal["relay", "give", "visit"]


class _Command(Struct, tag_field="do", kw_only=True):
    """A request that one worker sends to another."""


# For a client at another worker than the owner


class Attach(_Command, tag="join"):
    """Release a session to the worker that its client has come to, or send that worker hints."""

    session: UUID
    #: The number of the sender's ``RemoteSession``; later commands and hints carry it.
    remote: str
    #: The sender's channel, for the hints.
    channel: str
    #: The user's primary key; None for an anonymous client.
    user: str | None
    #: The hashes of two tokens: the one that the client came with, and the one that it gets.
    used: str | None
    given: str
    #: How many connections the session had had when the client came. If there have been more since,
    #: the owner refuses the command, as this connection must not replace a newer one.
    connections: int
    how: How
    #: Whether the ``RemoteSession`` is attached already, and one more request uses it.
    again: bool = False
    #: The language that the client has asked for.
    language: str = ""


class Forward(_Command, tag="forward"):
    """
    Take frames of the client, in order.

    A ``stop`` comes in a command of its own, which does not wait for the answers to earlier ones.
    """

    remote: str
    frames: list[msgspec.Raw]


class Detach(_Command, tag="detach"):
    """Forget the client: it is gone."""

    remote: str
    code: int


class Alive(_Command, tag="alive"):
    """Note that the client is still there; answered with the session's standing."""

    remote: str
    #: Whether the client has made a request, without a connection.
    visited: bool = False
    #: Whether the client has done something other than an event.
    acted: bool = False


# A client that makes requests


class Post(_Command, tag="post"):
    """Take an event without a number; answered with its turn."""

    remote: str
    name: str
    data: msgspec.Raw
    #: The client's id of a message, which identifies it if it is posted again.
    key: str | None


class Reply(_Command, tag="reply"):
    """Take the answer to a question, without a number; answered with the turn that asked."""

    remote: str
    call: str
    data: msgspec.Raw


# From the owner to the worker that the client is at


class HintPart(Struct, omit_defaults=True):
    """One position of a session's log, and the frames that the session sends after it."""

    #: The last stored entry of the log.
    head: int
    #: Frames that are not in the log.
    frames: list[msgspec.Raw] = []
    #: If ``frames`` has a turn's status: whether no turn runs or waits, and whether the session
    #: is ending.
    idle: bool | None = None
    ending: bool = False
    #: In the last part only: the close code, the end reason if the session has ended, and whether
    #: another worker can take the session now.
    code: int | None = None
    ended: str | None = None
    released: bool = False


class Hint(Struct):
    """
    News of a session. A hint is sent once, is not answered, and may be lost.

    The receiver finds the entries and the ends of turns in the database, even if a hint is lost.
    """

    remote: str
    #: 1, 2, 3, …: a gap means that a hint was lost.
    number: int
    parts: list[HintPart]


# From outside


class Append(Struct, tag="append"):
    """Append an entry to the log."""

    name: str
    data: msgspec.Raw


class Put(Struct, tag="put"):
    """Set an encoded value of ``user_session``."""

    key: str
    value: bytes


class Drop(Struct, tag="drop"):
    """Delete a key of ``user_session``."""

    key: str


class Offer(Struct, tag="offer"):
    """Set the actions that a message offers."""

    message: str
    actions: list[dict[str, Any]]


class Withdraw(Struct, tag="withdraw"):
    """Withdraw an action."""

    action: str


class Declare(Struct, tag="declare"):
    """Set the inputs of the chat settings, and their values."""

    inputs: list[dict[str, Any]]
    values: dict[str, Any]


class OpenStream(Struct, tag="stream"):
    """Open the stream of a message that is in the log."""

    event: dict[str, Any]


class AddToken(Struct, tag="token"):
    """Add a token to a streaming message, or replace its whole text."""

    message: str
    text: str
    replaces: bool


class CloseStream(Struct, tag="whole"):
    """Close the stream of a message."""

    message: str


class Assign(Struct, tag="assign"):
    """Give the session to a user, named by their primary key."""

    user: str


Step = (
    Append | Put | Drop | Offer | Withdraw | Declare | OpenStream | AddToken | CloseStream | Assign
)


class Apply(_Command, tag="apply"):
    """Make the changes of ``steps``, in order; answered when they are stored."""

    session: UUID
    #: Identifies the change, so that the session makes it once.
    number: str
    steps: list[Step]
    #: The number of the block that makes the change and owns the streams it opens, and the block's
    #: worker. A command without steps says that the block is alive.
    writer: str = ""
    worker: UUID | None = None


class Call(_Command, tag="call"):
    """Ask the session's client; answered with its answer."""

    session: UUID
    kind: str
    data: dict[str, Any]
    timeout: float | None


class End(_Command, tag="end"):
    """End a session; answered when the end is stored, with whether the session has ended."""

    session: UUID
    reason: str
    #: Whether to end the session only if its owner finds that it has expired.
    if_expired: bool = False


class Broadcast(_Command, tag="broadcast"):
    """Emit an event to all connected sessions of a chat or of all chats; answered with a count."""

    name: str
    data: msgspec.Raw
    chat: str | None


#: The commands of a ``RemoteSession`` that is attached.
OfRemote = Forward | Detach | Alive | Post | Reply
Command = Attach | OfRemote | Apply | Call | End | Broadcast


# Answers


class Attached(Struct, tag="attached"):
    """The session stays at its owner, which sends hints from this ``standing`` on."""

    standing: Standing
    #: The owner's generation; None from an earlier release.
    generation: int | None = None


class Taken(Struct, tag="taken"):
    """The owner has taken the client's frames, except those that it refused with ``errors``."""

    errors: list[msgspec.Raw]
    #: The code to close its connection with, if it has to be closed.
    code: int | None = None


class NotHere(Struct, tag="gone"):
    """The worker does not hold the session or does not know the client; look up the owner again."""


class NotResumed(Struct, tag="not_resumed"):
    """The client may not resume the session; ``reason`` is for the ``welcome`` frame."""

    reason: str


class Busy(Struct, tag="busy"):
    """The owner cannot release the session now."""


class Done(Struct, tag="done"):
    """The command is done, and returned ``value``."""

    value: Any = None


class Failed(Struct, tag="failed"):
    """The command raised an exception: its name, text and attributes."""

    error: str
    text: str
    carries: dict[str, Any] = {}  # msgspec copies the default


Answer = Attached | Taken | NotHere | NotResumed | Busy | Done | Posted | Failed

_encoder = msgspec.json.Encoder()
_commands: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
_answers: msgspec.json.Decoder[Answer] = msgspec.json.Decoder(Answer)
_hints = msgspec.json.Decoder(Hint)


def encode(something: Command | Answer | Hint) -> bytes:
    """Encode a command, an answer or a hint."""
    return _encoder.encode(something)


def decode_command(raw: bytes) -> Command:
    """Decode a command. Raises ``msgspec.DecodeError`` if this release does not know it."""
    return _commands.decode(raw)


def decode_hint(raw: bytes) -> Hint:
    """Decode a hint. Raises ``msgspec.DecodeError`` if this release does not know it."""
    return _hints.decode(raw)


def decode_answer(raw: bytes) -> Answer:
    """
    Decode an answer.

    Raises what the other worker raised, and ``ChatSessionsError`` if the answer is not valid.
    """
    try:
        answer = _answers.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ChatSessionsError(f"The other worker's answer cannot be read: {error}") from error
    if isinstance(answer, Failed):
        raise _raised(answer)
    return answer


def failure_of(error: Exception) -> Failed:
    """
    Return the answer for an exception.

    It has the text and the attributes of a ``ChatSessionsError`` or ``TimeoutError``. Of any other
    exception, which is logged, it has only the type.
    """
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

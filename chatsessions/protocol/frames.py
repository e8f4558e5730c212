"""
The frames of ``chatsessions.v1``, and how they are encoded and decoded.

A client's frame is validated while it is decoded; a violation of the protocol raises
:class:`~chatsessions.exceptions.FrameError`. The ``data`` of an event stays as the bytes that came
(``msgspec.Raw``), so that it is stored and sent again without being encoded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import IntEnum
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from chatsessions.exceptions import FrameError

from .events import FROM_CLIENT, one_of

SUBPROTOCOL = "chatsessions.v1"

#: How deep lists and objects may be nested in a frame. Python's own limit depends on the depth of
#: the caller's stack: one caller could decode a frame that another could not.
MAX_DEPTH = 64

#: The largest integer that JavaScript counts exactly (Number.MAX_SAFE_INTEGER).
MAX_SAFE_INTEGER = 2**53 - 1

Number = Annotated[int, Meta(ge=1, le=MAX_SAFE_INTEGER)]
Position = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]
# No control characters: PostgreSQL stores no NUL, and nobody reads them in an admin.
# \Z and not $: a $ also matches before a newline at the end.
CLEAN = r"^[^\x00-\x1f\x7f-\x9f]*\Z"
EventName = Annotated[str, Meta(min_length=1, max_length=100, pattern=CLEAN)]
#: The most messages that a client may begin with.
MAX_LATEST = 1000
ClientType = Annotated[str, Meta(min_length=1, max_length=50, pattern=CLEAN)]


def parse_uuid(text: str) -> UUID | None:
    """Return ``text`` as a UUID, from any spelling; None if it is not one."""
    try:
        return UUID(text)
    except ValueError:
        return None


def parse_seq(text: str) -> int | None:
    """Return ``text`` as the number of an entry; None if it is not one."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 17 else None


def message_id(session: UUID, n: int) -> str:
    """
    Return the id of a client's message that came without one.

    It is made from the session's id and the event's number, so that it is the same everywhere. It
    has the form of a UUID.
    """
    return f"{str(session)[:24]}{n:012x}"


def message_key(id_: str) -> str:
    """Return the id of a client's message as plain hexadecimal, from any spelling."""
    return id_.replace("-", "").lower()


class CloseCode(IntEnum):
    """Close codes. After 4000 to 4499 the client comes back, from 4500 on it does not."""

    SHUTTING_DOWN = 4000
    TOO_SLOW = 4008
    SILENT = 4012
    RATE_LIMITED = 4013
    PROTOCOL_VIOLATION = 4500
    NOT_ALLOWED = 4502
    SESSION_ENDED = 4503
    TOO_MANY_SESSIONS = 4504
    TAKEN_OVER = 4509
    FRAME_TOO_LARGE = 1009


class _Frame(Struct, tag_field="type", gc=False):
    """Every frame is an object with a ``type``; unknown keys are ignored."""


# From the client


class Hello(_Frame, tag="hello"):
    """The first frame of a connection: a new session, or one to be resumed."""

    #: The session to resume.
    session: Annotated[str, Meta(max_length=100)] | None = None
    #: The session's token, of the last ``welcome``.
    token: Annotated[str, Meta(max_length=200)] | None = None
    #: The highest ``seq`` that the client has applied; 0 asks for the whole kept log.
    received: Position = 0
    #: The thread to go on with, if no session is resumed.
    thread: Annotated[str, Meta(max_length=100)] | None = None
    #: For a new session, one of the profiles that the chat offers.
    profile: Annotated[str, Meta(max_length=200, pattern=CLEAN)] | None = None
    client_type: ClientType = "webapp"
    #: By default the first of ``Accept-Language``.
    language: Annotated[str, Meta(max_length=35, pattern=CLEAN)] | None = None
    #: Secrets of the client's own, which the server keeps in memory only.
    env: dict[str, str] | None = None
    #: The owner of what the client sends, as it knows it: ``owner`` of an earlier ``welcome``.
    owner: Annotated[str, Meta(max_length=100)] | None = None
    #: Whether the client takes several frames in one message.
    bundles: bool = False
    #: A client that has nothing yet begins with so many messages, the latest.
    latest: Annotated[int, Meta(ge=1, le=MAX_LATEST)] | None = None

    def __repr__(self) -> str:
        """Without secrets: the token and the client's own keys."""
        return f"Hello(session={self.session!r}, received={self.received!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("session", self.session), ("received", self.received)]


class ClientEvent(_Frame, tag="event"):
    """Something for a handler; it is repeated until it is ``accepted``."""

    #: Counts the session's ``event`` and ``answer`` frames, from 1.
    n: Number
    name: EventName
    data: Raw


class Answer(_Frame, tag="answer"):
    """The answer to an ``ask`` event."""

    #: Counts the session's ``event`` and ``answer`` frames, from 1.
    n: Number
    #: ``call`` of the question.
    call: Annotated[str, Meta(max_length=100)]
    data: Raw


class Stop(_Frame, tag="stop"):
    """Cancel the running turn."""


class Ack(_Frame, tag="ack"):
    """Everything up to ``seq`` has been applied."""

    seq: Position


class End(_Frame, tag="end"):
    """The user ends the session for good."""


class Ping(_Frame, tag="ping"):
    """
    Is the connection alive? Answered by ``pong``.

    ``silence``: for how many seconds from now on the client may send nothing. A browser runs the
    timers of a page that nobody looks at once a minute.
    """

    silence: Annotated[float, Meta(ge=0)] = 0


ClientFrame = Hello | ClientEvent | Answer | Stop | Ack | End | Ping


# From the server. What it sends keeps to these ranges; a client in Python does not check them.

SentNumber = Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": MAX_SAFE_INTEGER})]
SentPosition = Annotated[int, Meta(extra_json_schema={"minimum": 0, "maximum": MAX_SAFE_INTEGER})]


class ServerEvent(_Frame, tag="event"):
    """One entry of the session's log."""

    seq: SentNumber
    name: str
    data: Raw
    #: The turn that emitted it.
    turn: SentPosition | UnsetType = UNSET
    #: The client's own event ``n``, met again in a replay.
    n: SentNumber | UnsetType = UNSET


class Welcome(_Frame, tag="welcome", kw_only=True):
    """The answer to ``hello``."""

    session: str
    #: Brings the client back to the session; each ``welcome`` has a new one.
    token: str
    resumed: bool
    #: Why no session was resumed; null if one was.
    reason: Annotated[str, one_of("new", "unknown", "ended", "expired")] | None
    #: The highest ``n`` that is durably accepted.
    received: SentPosition
    #: The first entry of the kept log; 1 if it is empty.
    first: SentNumber
    #: The last entry of the log; 0 if it is empty.
    head: SentPosition
    #: The turn that runs.
    turn: SentPosition | None
    #: After how many silent seconds the client pings.
    heartbeat: float
    #: The largest frame that the server takes, in bytes.
    max_frame: SentNumber
    #: How many unaccepted events the client may have on the wire; left out by older servers.
    window: SentNumber | UnsetType = UNSET
    #: Numbers above this one belong to events that came by HTTP; left out if there are none.
    yours: SentPosition | UnsetType = UNSET
    #: A keyed hash of the connection's user; empty for somebody who is not logged in.
    owner: str | UnsetType = UNSET
    #: What the chat offers beside messages; left out if that is nothing.
    offers: list[str] | UnsetType = UNSET
    #: To a client that begins with the latest messages: the first entry of the kept log, of which
    #: those before ``first`` are fetched by HTTP.
    earlier: SentNumber | UnsetType = UNSET
    #: With ``earlier``: the entries before ``first`` that still hold, as ``settings``.
    state: list[ServerEvent] | UnsetType = UNSET

    def __repr__(self) -> str:
        """Without the token."""
        return f"Welcome(session={self.session!r}, resumed={self.resumed!r}, head={self.head!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("session", self.session), ("resumed", self.resumed), ("head", self.head)]


class Accepted(_Frame, tag="accepted"):
    """Event ``n`` is stored, and need never be sent again."""

    n: SentNumber
    #: The entry that it is; 0 if that is no longer kept.
    seq: SentPosition


class TurnStatus(_Frame, tag="turn"):
    """How the handling of an event goes: ``running``, then one of the others."""

    #: The number of the client's event; 0 for the start of the chat.
    turn: SentPosition
    #: The name of the event; ``start`` for the start of the chat.
    name: str
    status: Annotated[str, one_of("running", "done", "failed", "stopped", "interrupted")]


class Token(_Frame, tag="token"):
    """A piece of a message or step that is being streamed."""

    #: The id of the message or step.
    message: str
    #: 0, 1, 2, …
    index: SentPosition
    text: str


class Stream(_Frame, tag="stream"):
    """The text so far of a message or step that is being streamed."""

    #: The id of the message or step.
    message: str
    #: That of the next ``token``.
    index: SentPosition
    content: str

    @property
    def has_text(self) -> bool:
        """Whether it says more than the entry that has opened the stream."""
        return bool(self.index or self.content)


class Error(_Frame, tag="error"):
    """Something was refused; the connection stays open unless a close follows."""

    code: str
    detail: str
    #: The event that was refused; with ``n_gap`` the one that is expected.
    n: SentNumber | UnsetType = UNSET
    #: In seconds.
    retry_after: float | UnsetType = UNSET
    #: In answer to a ``hello`` that named another owner: whose the connection is.
    owner: str | UnsetType = UNSET


def error_of(error: FrameError) -> Error:
    """Return ``error`` as a frame for the client."""
    return Error(
        error.code,
        error.detail,
        UNSET if error.n is None else error.n,
        UNSET if error.retry_after is None else error.retry_after,
    )


class Ended(_Frame, tag="ended"):
    """The session is over; a close follows."""

    reason: Annotated[str, one_of("user", "admin", "app", "expired", "logout")]


class Pong(_Frame, tag="pong"):
    """The connection is alive."""

    #: The last entry of the log.
    head: SentPosition


ServerFrame = Welcome | ServerEvent | Accepted | TurnStatus | Token | Stream | Error | Ended | Pong


#: The frames of a message that is being streamed. (A tuple: a union is made anew at each use.)
PIECES = (Token, Stream)

_encoder = msgspec.json.Encoder()
_client_decoder: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame)
_server_decoder: msgspec.json.Decoder[ServerFrame] = msgspec.json.Decoder(ServerFrame)
_bundle_decoder: msgspec.json.Decoder[list[ServerFrame]] = msgspec.json.Decoder(list[ServerFrame])
_data_decoder = msgspec.json.Decoder()


#: The errors that decoders raise.
UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)


def encode(frame: ServerFrame | ClientFrame) -> str:
    """Return a frame as text."""
    return _encoder.encode(frame).decode()


def bundle(texts: Iterable[str]) -> str:
    """Return several frames as one text."""
    return f"[{','.join(texts)}]"


def decode(text: str) -> ClientFrame:
    """
    Return a client's frame.

    Raises ``FrameError`` with the code ``bad_frame`` if ``text`` is not JSON, not an object, of an
    unknown ``type`` or of the wrong shape; with its ``n``, if that can be read.
    """
    try:
        return _client_decoder.decode(text)
    except UNREADABLE as error:
        raise _bad_frame(error, n=_number_in(text)) from error


def _number_in(text: str) -> int | None:
    """
    Return the number of a frame that cannot be decoded, or None.

    ``json`` also reads lone surrogates and ``NaN``, which msgspec refuses.
    """
    try:
        return msgspec.convert(json.loads(text)["n"], Number)
    except (ValueError, TypeError, LookupError, RecursionError):
        return None


def decode_server(text: str) -> ServerFrame:
    """Return a server's frame; for clients written in Python."""
    return _server_decoder.decode(text)


def decode_message(text: str | bytes) -> list[ServerFrame]:
    """Return the frames of one message of the server: one frame, or those of a bundle."""
    if text[:1] in ("[", b"["):
        return _bundle_decoder.decode(text)
    return [_server_decoder.decode(text)]


def decode_data(event: ClientEvent | Answer) -> Any:
    """
    Return the ``data`` of an event as Python values.

    Raises ``FrameError`` with the code ``bad_frame`` and the event's ``n`` for data that is
    damaged, nested deeper than ``MAX_DEPTH``, or not of the shape that the event's name requires.
    """
    raw = bytes(event.data)
    if isinstance(event, ClientEvent) and event.name == "answer":
        raise FrameError("bad_frame", "an answer has a frame of its own", n=event.n)
    try:
        data = _data_decoder.decode(raw)
        if isinstance(event, ClientEvent) and event.name in FROM_CLIENT:
            msgspec.convert(data, FROM_CLIENT[event.name])
    except UNREADABLE as error:
        raise _bad_frame(error, n=event.n) from error
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH and _depth(data) > MAX_DEPTH:
        raise FrameError("bad_frame", f"nested deeper than {MAX_DEPTH} levels", n=event.n)
    return data


def _bad_frame(error: Exception, *, n: int | None = None) -> FrameError:
    detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
    return FrameError("bad_frame", detail[:300], n=n)


def _depth(data: Any) -> int:
    """Return how deep lists and dicts are nested, without recursion."""
    depth = 0
    level = [data]
    while level := [value for value in level if isinstance(value, dict | list)]:
        depth += 1
        inner = (value.values() if isinstance(value, dict) else value for value in level)
        level = [value for values in inner for value in values]
    return depth

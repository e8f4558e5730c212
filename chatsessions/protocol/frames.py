"""
The frames of ``chatsessions.v1``, and how they are encoded and decoded.

A client's frame is validated while it is decoded; a violation of the protocol raises
:class:`~chatsessions.exceptions.FrameError`. The ``data`` of an event stays as the bytes that came
(``msgspec.Raw``), so that it is stored and sent again without being encoded.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from chatsessions.exceptions import FrameError

SUBPROTOCOL = "chatsessions.v1"

#: How deep lists and objects may be nested in a frame. Python's own limit depends on the depth of
#: the stack, so that one caller could decode what another could not.
MAX_DEPTH = 64

#: The largest integer that JavaScript counts exactly (Number.MAX_SAFE_INTEGER).
MAX_SAFE_INTEGER = 2**53 - 1

Number = Annotated[int, Meta(ge=1, le=MAX_SAFE_INTEGER)]
Position = Annotated[int, Meta(ge=0, le=MAX_SAFE_INTEGER)]
# No control characters: PostgreSQL stores no NUL, and nobody reads them in an admin.
# With \Z: a $ is before a newline at the end, too.
CLEAN = r"^[^\x00-\x1f\x7f-\x9f]*\Z"
EventName = Annotated[str, Meta(min_length=1, max_length=100, pattern=CLEAN)]
ClientType = Annotated[str, Meta(min_length=1, max_length=50, pattern=CLEAN)]


def parse_uuid(text: str) -> UUID | None:
    """Return the UUID that ``text`` is, in any spelling; None if it is none."""
    try:
        return UUID(text)
    except ValueError:
        return None


def parse_seq(text: str) -> int | None:
    """Return the number of an entry that ``text`` is; None if it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 17 else None


def message_id(session: UUID, n: int) -> str:
    """
    Return the id of a client's message that came without one.

    It is made of the session's id and the event's number, so that it is the same wherever it is
    made. It has the form of a UUID.
    """
    return f"{str(session)[:24]}{n:012x}"


def message_key(id_: str) -> str:
    """Return the id that a client gave its message in hexadecimal, however it was written."""
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
    session: Annotated[str, Meta(max_length=100)] | None = None
    token: Annotated[str, Meta(max_length=200)] | None = None
    received: Position = 0
    thread: Annotated[str, Meta(max_length=100)] | None = None
    profile: Annotated[str, Meta(max_length=200, pattern=CLEAN)] | None = None
    client_type: ClientType = "webapp"
    language: Annotated[str, Meta(max_length=35, pattern=CLEAN)] | None = None
    env: dict[str, str] | None = None
    #: The owner of what the client sends, as it knows it: ``owner`` of an earlier ``welcome``.
    owner: Annotated[str, Meta(max_length=100)] | None = None
    #: Whether the client takes several frames in one message.
    bundles: bool = False

    def __repr__(self) -> str:
        """Without secrets: the token and the client's own keys."""
        return f"Hello(session={self.session!r}, received={self.received!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("session", self.session), ("received", self.received)]


class ClientEvent(_Frame, tag="event"):
    n: Number
    name: EventName
    data: Raw


class Answer(_Frame, tag="answer"):
    n: Number
    call: Annotated[str, Meta(max_length=100)]
    data: Raw


class Stop(_Frame, tag="stop"):
    pass


class Ack(_Frame, tag="ack"):
    seq: Position


class End(_Frame, tag="end"):
    pass


class Ping(_Frame, tag="ping"):
    pass


ClientFrame = Hello | ClientEvent | Answer | Stop | Ack | End | Ping


# From the server


class Welcome(_Frame, tag="welcome", kw_only=True):
    session: str
    token: str
    resumed: bool
    reason: str | None
    received: int
    first: int
    head: int
    turn: int | None
    heartbeat: float
    max_frame: int
    #: How many unaccepted events the client may have on the wire; left out by older servers.
    window: int | UnsetType = UNSET
    #: Numbers above this one belong to events that came by HTTP; left out if there are none.
    yours: int | UnsetType = UNSET
    #: A keyed hash of the connection's user; empty for somebody who is not logged in.
    owner: str | UnsetType = UNSET

    def __repr__(self) -> str:
        """Without the token."""
        return f"Welcome(session={self.session!r}, resumed={self.resumed!r}, head={self.head!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("session", self.session), ("resumed", self.resumed), ("head", self.head)]


class ServerEvent(_Frame, tag="event"):
    seq: int
    name: str
    data: Raw
    turn: int | UnsetType = UNSET
    n: int | UnsetType = UNSET


class Accepted(_Frame, tag="accepted"):
    n: int
    seq: int


class TurnStatus(_Frame, tag="turn"):
    turn: int
    name: str
    status: str


class Token(_Frame, tag="token"):
    message: str
    index: int
    text: str


class Stream(_Frame, tag="stream"):
    message: str
    index: int
    content: str


class Error(_Frame, tag="error"):
    code: str
    detail: str
    n: int | UnsetType = UNSET
    retry_after: float | UnsetType = UNSET
    #: In answer to a ``hello`` that named another owner: whose the connection is.
    owner: str | UnsetType = UNSET


def error_of(error: FrameError) -> Error:
    """Return the frame that tells a client of ``error``."""
    return Error(
        error.code,
        error.detail,
        UNSET if error.n is None else error.n,
        UNSET if error.retry_after is None else error.retry_after,
    )


class Ended(_Frame, tag="ended"):
    reason: str


class Pong(_Frame, tag="pong"):
    head: int


ServerFrame = Welcome | ServerEvent | Accepted | TurnStatus | Token | Stream | Error | Ended | Pong


# The data of events that have a meaning


class MessageData(Struct):
    content: str
    id: UUID | None = None
    files: list[str] | None = None


class ActionData(Struct):
    id: str
    name: str
    payload: dict[str, Any] = {}  # msgspec copies it


_KNOWN_DATA: dict[str, Any] = {
    "message": MessageData,
    "action": ActionData,
    "settings": dict[str, Any],
}

#: The frames of a message that is being streamed. (A tuple: a union is made anew at each use.)
PIECES = (Token, Stream)

_encoder = msgspec.json.Encoder()
_client_decoder: msgspec.json.Decoder[ClientFrame] = msgspec.json.Decoder(ClientFrame)
_server_decoder: msgspec.json.Decoder[ServerFrame] = msgspec.json.Decoder(ServerFrame)
_bundle_decoder: msgspec.json.Decoder[list[ServerFrame]] = msgspec.json.Decoder(list[ServerFrame])
_data_decoder = msgspec.json.Decoder()


def encode(frame: ServerFrame | ClientFrame) -> str:
    """Return a frame as text."""
    return _encoder.encode(frame).decode()


def bundle(texts: Iterable[str]) -> str:
    """Return several frames as one text."""
    return f"[{','.join(texts)}]"


def decode(text: str) -> ClientFrame:
    """
    Return a client's frame.

    Raises ``FrameError`` with the code ``bad_frame`` for what is not JSON, not an object, of an
    unknown ``type`` or of the wrong shape.
    """
    try:
        return _client_decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise _bad_frame(error) from error


def decode_server(text: str) -> ServerFrame:
    """Return a server's frame; for clients written in Python."""
    return _server_decoder.decode(text)


def decode_message(text: str | bytes) -> list[ServerFrame]:
    """Return the frames of one message of the server's: one, or those of a bundle."""
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
        if isinstance(event, ClientEvent) and event.name in _KNOWN_DATA:
            msgspec.convert(data, _KNOWN_DATA[event.name])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
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

"""
The emitter, which turns what handlers send into entries of the log, and tokens.

It knows neither sessions nor connections; it writes to a :class:`Sink`.
"""

from __future__ import annotations

import asyncio
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping
from math import isfinite
from typing import Any, Concatenate, ParamSpec, TypedDict, TypeVar, Unpack

import msgspec
from msgspec import Struct

from chatsessions.conf import settings
from chatsessions.exceptions import NotStorable, TooLarge
from chatsessions.protocol import frames

from .bridge import also_sync, in_loop

P = ParamSpec("P")
T = TypeVar("T")

#: Types by the attributes that have them, each with words for an error.
Types = Mapping[str, tuple[type | tuple[type, ...], str]]

#: What to send instead of data that JSON cannot represent.
_ADVICE = (
    "An event is JSON: send plain data, of a pydantic model what .model_dump(mode='json') gives."
)
#: Bytes that are reserved for the other keys of a streamed message, without its metadata.
MESSAGE_OVERHEAD = 500


class Turn(Struct, eq=False):
    """One run of a handler. ``n`` is the number of the event, 0 for the start, None for hooks."""

    n: int | None
    name: str
    #: Whether it was stopped; it can no longer send or set anything.
    stopped: bool = False
    #: The tasks that its handler has spawned and that still run.
    spawned: set[asyncio.Task[Any]] = set()
    #: The tasks that a thread waits for. They are cancelled with the turn.
    awaited: set[asyncio.Task[Any]] = set()
    #: The thread that the handler runs in, if it is written as ``def``.
    thread: int | None = None

    def waits_for(self, task: asyncio.Task[Any]) -> None:
        """Cancel ``task``, which a thread waits for, when the turn is stopped."""
        self.awaited.add(task)
        task.add_done_callback(self.awaited.discard)


class Streaming(ABC):
    """A message or a step whose text grows by tokens until its stream is closed."""

    #: The name of the event that closes its stream.
    update_name = "message_update"
    #: Bytes that the event needs besides the text and MESSAGE_OVERHEAD.
    overhead = 0

    id: str
    #: The event that has opened its stream.
    opened: dict[str, Any]
    #: Bytes of the text so far, as JSON, while it streams.
    size = 0
    _parts: list[str]
    _streaming = False

    @property
    def content(self) -> str:
        """The text, with all tokens so far."""
        if len(self._parts) > 1:
            self._parts = ["".join(self._parts)]
        return self._parts[0]

    @content.setter
    def content(self, value: object) -> None:
        self._parts = [as_text(value)]

    @abstractmethod
    def as_event(self) -> dict[str, Any]:
        """Return the message or step as it goes over the wire."""

    def begin_stream(self, event: dict[str, Any]) -> None:
        """Mark the stream as open; ``event``, which opens it, is in the log."""
        self.opened = event
        self._streaming = True

    def add_content(self, text: str) -> None:
        """Add a token to the text."""
        self._parts.append(text)

    def replace_content(self, text: str) -> None:
        """Replace the whole text with a token."""
        self._parts = [text]

    def take_off(self, action: str) -> None:  # noqa: B027  # a step has nothing to do
        """Take the button of ``action`` off; only messages have buttons."""

    def end_stream(self, *, cut: bool = False) -> None:
        """Mark the stream as closed; ``cut`` means that its writer was stopped."""
        self._streaming = False


class Sink(ABC):
    """
    What an emitter writes to: the session in its owner's memory, or a block of code elsewhere.

    Its methods raise an error if the session or the turn accepts nothing more.
    """

    loop: asyncio.AbstractEventLoop

    @abstractmethod
    def append(self, name: str, data: bytes, turn: Turn | None) -> int:
        """Append an entry to the log and return its ``seq``."""

    @abstractmethod
    def open_stream(self, stream: Streaming, turn: Turn | None) -> None:
        """Accept tokens of ``stream`` from now on. Its opening event is appended already."""

    @abstractmethod
    def write(
        self, stream: Streaming, text: str, turn: Turn | None, *, replaces: bool = False
    ) -> None:
        """Add a token to an open stream; with ``replaces`` it replaces the whole text."""

    @abstractmethod
    def close_stream(self, stream_id: str) -> None:
        """Accept no more tokens of a stream."""

    @abstractmethod
    def offer(self, message: str, actions: list[dict[str, Any]]) -> None:
        """Let the client choose ``actions``, and no other actions of ``message``, from now on."""

    @abstractmethod
    async def withdraw(self, action: str, turn: Turn | None) -> None:
        """Stop offering ``action``."""

    def withdrawn(self, message: str) -> set[str]:
        """Return the ids of the withdrawn actions of ``message``; empty if they are not known."""
        return set()

    @abstractmethod
    def declare_settings(
        self, inputs: list[dict[str, Any]], values: dict[str, Any], turn: Turn | None
    ) -> None:
        """Replace the inputs of the chat settings, and their values."""

    @abstractmethod
    async def call(
        self, kind: str, data: dict[str, Any], *, timeout: float | None, turn: Turn | None
    ) -> Any:
        """Ask the client, and return its answer."""

    @property
    @abstractmethod
    def is_crowded(self) -> bool:
        """Whether :meth:`room` would wait."""

    @abstractmethod
    async def room(self) -> None:
        """Wait while too much is waiting to be stored. Raises ``StoreUnavailable``."""

    @abstractmethod
    async def flush(self, turn: Turn | None = None) -> None:
        """Wait until everything so far is stored. Raises ``StoreUnavailable``."""


class Effects(TypedDict, total=False):
    """What an event does beside being appended to the log."""

    #: Called when the entry is appended.
    appended: Callable[[], None]
    #: A message's id, and the actions that it offers from now on.
    offers: tuple[str, list[dict[str, Any]]] | None
    #: Whose streams the entry opens and closes.
    opens: Streaming | None
    closes: Streaming | None


def _owner_loop(emitter: Emitter, _name: str) -> asyncio.AbstractEventLoop:
    return emitter.loop


def _in_owner_loop(
    method: Callable[Concatenate[Emitter, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Emitter, P], Coroutine[Any, Any, T]]:
    """Let an async method that is awaited in another event loop run in that of the owner."""

    @functools.wraps(method)
    def call(self: Emitter, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        work = method(self, *args, **kwargs)
        return work if self.is_at_home else in_loop(work, self.loop)

    return call


async def _awaited(emitter: Emitter, work: Coroutine[Any, Any, T]) -> T:
    """Run ``work``, which a thread waits for; it is cancelled when the turn is stopped."""
    task = asyncio.current_task()
    if emitter._turn is not None and task is not None:
        emitter._turn.waits_for(task)
    return await work


class Emitter:
    """
    Sends to a session's client, through the session's log (``context.emitter``).

    Its methods may be awaited in any event loop, and run in that of the session's owner. Where no
    event loop runs, as in a handler written as ``def``, call ``emit``, ``flush`` and ``call``
    without ``await``.
    """

    __slots__ = ("_sink", "_turn", "loop")

    def __init__(self, sink: Sink, turn: Turn | None) -> None:
        self._sink = sink
        self._turn = turn
        #: The event loop of the session's owner.
        self.loop = sink.loop

    @also_sync(_owner_loop)
    async def emit(self, name: str, data: Any = None) -> int:
        """
        Append an event of the application's own to the log and return its ``seq``.

        It returns before the entry is stored (see :meth:`flush`), and waits only while the session
        has more than ``MAX_UNCOMMITTED`` entries to store. The client gets the event when it is
        stored. Raises ``NotStorable`` for data that is not JSON, ``StoreUnavailable``,
        ``TurnStopped``, ``SessionOver``, ``OwnershipLost``.
        """
        return await self.append(name, data)

    @_in_owner_loop
    async def append(self, name: str, data: Any, **effects: Unpack[Effects]) -> int:
        """Append an event as :meth:`emit` does, which has ``effects``."""
        seq = self.append_now(name, data, **effects)
        if self._sink.is_crowded:
            await self._sink.room()
        return seq

    def append_now(self, name: str, data: Any, **effects: Unpack[Effects]) -> int:
        """Append an event as :meth:`append` does, in the owner's event loop, without waiting."""
        sink = self._sink
        seq = sink.append(name, encode_data(name, data), self._turn)
        if appended := effects.get("appended"):
            appended()
        if offers := effects.get("offers"):
            sink.offer(*offers)
        if (closes := effects.get("closes")) is not None:
            closes.end_stream()
            sink.close_stream(closes.id)
        if (opens := effects.get("opens")) is not None:
            opens.begin_stream(data)
            sink.open_stream(opens, self._turn)
        return seq

    @also_sync(_owner_loop)
    async def flush(self) -> None:
        """Wait until all that was emitted and set so far is stored. Raises ``StoreUnavailable``."""
        await in_loop(self._sink.flush(self._turn), self.loop)

    @also_sync(_owner_loop, within=_awaited)
    async def call(
        self, kind: str, data: dict[str, Any] | None = None, *, timeout: float | None = 60
    ) -> Any:
        """
        Ask the client, and return its answer once it is stored.

        The client gets an ``ask`` event with ``kind`` and the keys of ``data``, also after a reload
        and on another device. The page knows the kinds ``text``, ``action`` and ``files``, and
        their answers are checked; for other kinds an answer is any JSON. ``timeout`` is in seconds,
        None for as long as the session lives.

        Raises ``TimeoutError``; ``TypeError`` for ``data`` that is no dict; ``RuntimeError`` with
        too many open questions; and what :meth:`emit` raises.
        """
        if data is not None and not isinstance(data, dict):
            raise TypeError(f"The data of a question is a dict, not {type(data).__name__}.")
        asked = data or {}
        encode_data("ask", asked | {"kind": kind})
        call = self._sink.call(kind, asked, timeout=timeout, turn=self._turn)
        if not self.is_at_home:
            return await in_loop(_awaited(self, call), self.loop)
        return await call

    @_in_owner_loop
    async def withdraw(self, action: str) -> None:
        """Stop offering the action with the id ``action``, and take it off its message."""
        await self._sink.withdraw(action, self._turn)
        if self._sink.is_crowded:
            await self._sink.room()

    def withdrawn(self, message: str) -> set[str]:
        """Return the ids of the actions that were taken off the message with the id ``message``."""
        return self._sink.withdrawn(message)

    @_in_owner_loop
    async def declare_settings(self, inputs: list[dict[str, Any]], values: dict[str, Any]) -> None:
        """Replace the inputs of the chat settings, as they go over the wire, and their values."""
        for name, data in (("settings_form", {"inputs": inputs}), ("settings", values)):
            encode_data(name, data)
        self._sink.declare_settings(inputs, values, self._turn)
        await self._sink.room()

    @_in_owner_loop
    async def stream(
        self,
        message: Streaming,
        text: str,
        *,
        opening: Callable[[], object] | None,
        replaces: bool = False,
    ) -> None:
        """
        Add a token to ``message``; with ``replaces`` it replaces the whole text.

        ``opening`` appends the event that opens the stream; it is None if the stream is open.
        """
        size = _text_size(text, "a token")
        if not replaces:
            size += message.size if opening is None else _text_size(message.content, "the text")
        limit = settings.MAX_EVENT_BYTES
        if size > limit - MESSAGE_OVERHEAD - message.overhead:
            raise TooLarge("The streamed message", size, limit, "MAX_EVENT_BYTES")
        if opening is not None:
            opening()
        sink = self._sink
        sink.write(message, text, self._turn, replaces=replaces)
        message.size = size
        if sink.is_crowded:
            await sink.room()

    @property
    def is_at_home(self) -> bool:
        """Whether the running event loop is the owner's."""
        return asyncio.get_running_loop() is self.loop


def as_text(content: object) -> str:
    """Return ``content`` as it is shown: a dict or list as JSON, anything else by ``str``."""
    if isinstance(content, str):
        return content
    if isinstance(content, dict | list):
        return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()
    return str(content)


def check_types(owner: object, types: Types) -> None:
    """
    Raise ``TypeError`` for an attribute of another type than ``types`` says.

    JSON may have its value, but readers of the log would not understand the event.
    """
    for name, (known, words) in types.items():
        value = getattr(owner, name)
        if not isinstance(value, known):
            kind, found = type(owner).__name__, type(value).__name__
            raise TypeError(f"The {name} of {kind} is {words}, not {found}.")


def _text_size(text: str, what: str) -> int:
    """Return the bytes of ``text`` as JSON, without the quotes. Raises ``NotStorable``."""
    advice = 'Stream text: stream_token(token or "") if the token may be None.'
    if not isinstance(text, str):
        raise NotStorable(what, type(text), "it has to be a str", advice=advice)
    try:
        return len(msgspec.json.encode(text)) - 2
    except UnicodeEncodeError as error:
        raise NotStorable(what, str, str(error), advice="Stream text without it.") from error


def encode_data(name: str, data: Any) -> bytes:
    """
    Return the data of an event as JSON.

    Raises ``NotStorable`` for data that JSON cannot have, ``TooLarge`` beyond ``MAX_EVENT_BYTES``,
    and ``ValueError`` for a name that is empty, longer than 100 characters or has control
    characters.
    """
    _check_name(name)
    try:
        raw = msgspec.json.encode(data)
        if b"null" in raw and _has_odd_number(msgspec.to_builtins(data)):
            raise ValueError("JSON has neither NaN nor infinity")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        what = f"the data of event {name!r}"
        raise NotStorable(what, type(data), str(error), advice=_ADVICE) from error
    if len(raw) > settings.MAX_EVENT_BYTES:
        limit = settings.MAX_EVENT_BYTES
        raise TooLarge(f"The data of event {name!r}", len(raw), limit, "MAX_EVENT_BYTES")
    return raw


@functools.lru_cache(maxsize=1000)  # an application has few names, and sends each many times
def _check_name(name: str) -> None:
    try:
        msgspec.convert(name, frames.EventName)
    except msgspec.ValidationError as error:
        raise ValueError(f"{name!r} cannot be an event's name: {error}") from error


def _has_odd_number(data: Any) -> bool:
    """Return True if there is a number that JSON cannot have; msgspec writes it as null."""
    if isinstance(data, float):
        return not isfinite(data)
    if isinstance(data, dict):
        return any(map(_has_odd_number, data.values()))
    return isinstance(data, list | tuple) and any(map(_has_odd_number, data))

"""Steps of a handler on the way to an answer; the page shows them as rows that unfold."""

from __future__ import annotations

import functools
import inspect
from asyncio import CancelledError
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from types import NoneType, TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload
from uuid import UUID, uuid4

import msgspec
from asgiref.sync import iscoroutinefunction
from django.utils.translation import gettext_lazy

from chatsessions.conf import settings, with_offset
from chatsessions.exceptions import TurnStopped
from chatsessions.storage.conversation import TEXT, Format
from chatsessions.storage.storable import serializable

from .bridge import also_sync, has_loop
from .context import Context, current, find_context, owner_loop
from .emitter import Streaming, Types, as_text, check_types
from .messages import checked_format
from .session import error_text, printable
from .sync import run_sync

P = ParamSpec("P")
R = TypeVar("R")

#: The ``error`` of a step whose block has raised, unless ``DEBUG`` is on.
FAILED = gettext_lazy("This step has failed.")
#: The ``error`` of a step that was stopped, or cut short.
CUT = gettext_lazy("This step was not finished.")

_ATTRIBUTES: Types = {
    "id": (str, "a str"),
    "name": (str, "a str"),
    "type": (str, "a str"),
    "parent": ((str, NoneType), "the id of a step, or None"),
    "error": ((str, NoneType), "a str or None"),
    "metadata": ((dict, NoneType), "a dict or None"),
}

_current: ContextVar[Step | None] = ContextVar("chatsessions_step", default=None)


def current_step() -> Step | None:
    """Return the step that the running code belongs to: the innermost ``async with Step(…)``."""
    return _current.get()


@serializable(name="chatsessions.Step")
class Step(Streaming):
    """
    One step on the way to an answer, such as a search or a call of a tool.

    ``name`` and ``type`` (``tool``, ``llm``, ``retrieval``, any word) say what it is. ``input`` and
    ``output`` are text; a dict or list is shown as JSON, anything else by ``str``. With ``format``
    ``markdown`` the output is read as Markdown. ``metadata`` is JSON that is sent with it.
    ``parent`` is the outer step or its id; the default is the step in whose block this one begins.

    ``async with Step("search", input=query) as step:`` shows the step as running, and as done at
    the end of the block. If the block raises, the step has failed and ``error`` says so: with the
    exception's text under ``DEBUG``, without it otherwise. Without a block, :meth:`send` begins the
    step and :meth:`finish` ends it. A step that is not finished ends with its turn. In a handler
    written as ``def`` the block is a ``with``, and nothing is awaited.

    Steps are in the log and on the page, but not in ``chat_context``.
    """

    update_name = "step_update"

    def __init__(
        self,
        name: str = "",
        type: str = "tool",  # noqa: A002  # Chainlit's name
        *,
        input: object = "",  # noqa: A002  # the wire's name
        output: object = "",
        format: Format = TEXT,  # noqa: A002  # the wire's name
        error: str | None = None,
        parent: Step | str | None = None,
        metadata: dict[str, Any] | None = None,
        id: str | None = None,  # noqa: A002  # the wire's name
    ) -> None:
        self.id = str(id or uuid4())
        self.content = output
        self.name = name
        self.type = type
        self._input = as_text(input)
        self._format = checked_format(format)
        #: What went wrong, in words for the user; None if nothing did.
        self.error = error
        #: The id of the step that it is part of.
        self.parent = parent.id if isinstance(parent, Step) else parent
        self.metadata = metadata
        #: When it began; None before that.
        self.started_at: datetime | None = None
        #: When it ended; None while it runs.
        self.ended_at: datetime | None = None
        #: The session that it was sent in.
        self._sent_in: UUID | None = None
        #: The step that is current again after its block.
        self._outer: Step | None = None

    @property
    def input(self) -> str:
        """What the step works on."""
        return self._input

    @input.setter  # noqa: A003, RUF100  # the wire's name
    def input(self, value: object) -> None:
        self._input = as_text(value)

    @property
    def output(self) -> str:
        """The result of the step, with all tokens so far."""
        return self.content

    @output.setter
    def output(self, value: object) -> None:
        self.content = value

    @property
    def format(self) -> Format:
        """How ``output`` is to be read."""
        return self._format

    @format.setter  # noqa: A003, RUF100  # the wire's name
    def format(self, value: Format) -> None:
        self._format = checked_format(value)

    @also_sync(owner_loop)
    async def send(self) -> Self:
        """
        Show the step as running, or update it if it was sent before.

        When this returns, the step is in the log. Raises what ``context.emitter.emit`` raises.
        """
        await self._tell(current("Step.send"))
        return self

    @also_sync(owner_loop)
    async def update(self) -> Self:
        """Send the step as it is now, in place of what was sent before."""
        await self._tell(current("Step.update"))
        return self

    @also_sync(owner_loop)
    async def finish(self) -> Self:
        """Send the step as done, or as failed if it has an ``error``."""
        self.ended_at = datetime.now(UTC)
        await self._tell(current("Step.finish"))
        return self

    @also_sync(owner_loop)
    async def remove(self) -> Self:
        """Take the step off the page. Its entries stay in the log."""
        here = current("Step.remove")
        if self._sent_in == here.session.id:
            self.end_stream()
            await here.emitter.append("step_remove", {"id": self.id}, closes=self)
        self._sent_in = None
        return self

    @also_sync(owner_loop)
    async def stream_token(self, token: str, is_sequence: bool = False) -> None:  # noqa: FBT001, FBT002, RUF100  # as Message has it
        """
        Add ``token`` to the output and show it at once.

        The first token begins a step that was not sent. With ``is_sequence`` the token replaces
        the output so far. Raises what ``context.emitter.emit`` raises.
        """
        here = current("Step.stream_token")
        if not self._streaming or self._sent_in != here.session.id:
            self.ended_at = None
            await self._tell(here)
        await here.emitter.stream(self, token, opening=None, replaces=is_sequence)

    async def __aenter__(self) -> Self:
        self._begin()
        try:
            await self._tell(current("Step"))
        except BaseException:
            self._leave()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        here = self._end(error)
        if here is not None:
            await self._tell(here)

    def __enter__(self) -> Self:
        self._begin()
        try:
            self._tell_now(current("Step"))
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        here = self._end(error)
        if here is not None:
            self._tell_now(here)

    def _begin(self) -> None:
        self._outer = _current.get()
        if self.parent is None and self._outer is not None:
            self.parent = self._outer.id
        self.ended_at = None
        _current.set(self)

    def _leave(self) -> None:
        # Not by a token: a generator may be left in another context than it was entered in.
        _current.set(self._outer)
        self._outer = None

    def _end(self, error: BaseException | None) -> Context | None:
        """Record the end of the block; return the context to send the step in, None if stopped."""
        self._leave()
        here = current("Step")
        if isinstance(error, CancelledError | TurnStopped):
            self.error = self.error or str(CUT)
            if here.turn is not None and here.turn.stopped:
                return None  # the end of the turn closes the step
        elif error is not None and not isinstance(error, GeneratorExit):
            self.error = self.error or error_text(here.session, error, FAILED)
        self.ended_at = datetime.now(UTC)
        return here

    # Sending

    def _tell_now(self, here: Context) -> None:
        """
        Send the step from a ``with`` block, which cannot await.

        Raises ``RuntimeError`` in an event loop that is not the owner's.
        """
        if not has_loop():
            run_sync(self._tell(here))
        elif here.emitter.is_at_home:
            self._emit(here, here.emitter.append_now)
        else:
            raise RuntimeError("In this event loop a step is 'async with Step(…)'.")

    @also_sync(owner_loop)
    async def _tell(self, here: Context) -> None:
        await self._emit(here, here.emitter.append)

    def _emit(self, here: Context, append: Callable[..., R]) -> R:
        """Append the step as it is now: an event that opens its stream, or closes it."""
        name = self.update_name
        if self._sent_in != here.session.id:
            name = "step"
            self.started_at = None
            if self.parent is None and (outer := _current.get()) not in (None, self):
                self.parent = outer.id
        if self.started_at is None:
            self.started_at = datetime.now(UTC)
        sent = partial(setattr, self, "_sent_in", here.session.id)
        runs = self.ended_at is None
        if not runs:
            self.end_stream()
        event = self.as_event() | {"streaming": runs}
        opens, closes = (self, None) if runs else (None, self)
        return append(name, event, appended=sent, opens=opens, closes=closes)

    def begin_stream(self, event: dict[str, Any]) -> None:
        super().begin_stream(event)
        self.size = len(msgspec.json.encode(self.output))
        self.overhead = len(msgspec.json.encode([self.name, self._input, self.metadata]))

    def end_stream(self, *, cut: bool = False) -> None:
        super().end_stream()
        if self.ended_at is None:
            self.ended_at = datetime.now(UTC)
            if cut:
                self.error = self.error or str(CUT)

    def as_event(self) -> dict[str, Any]:
        """
        Return the step as it goes over the wire.

        Raises ``TypeError`` for an attribute of a wrong type.
        """
        check_types(self, _ATTRIBUTES)
        event: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "input": self._input,
            "output": self.output,
            "start": with_offset(self.started_at or datetime.now(UTC)),
            "streaming": self._streaming,
        }
        for key, value in (
            ("format", None if self._format == TEXT else self._format),
            ("parent", self.parent),
            ("error", self.error),
            ("metadata", self.metadata),
            ("end", self.ended_at and with_offset(self.ended_at)),
        ):
            if value is not None:
                event[key] = value
        return event

    def to_storable(self) -> dict[str, Any]:
        """Return what ``user_session`` stores of a step."""
        return {"event": Step.as_event(self) | {"streaming": False}, "session": self._sent_in}

    @classmethod
    def from_storable(cls, data: dict[str, Any]) -> Self:
        """Return the step that was stored as ``data``."""
        event = data["event"]
        step = cls(
            event["name"],
            event["type"],
            input=event["input"],
            output=event["output"],
            format=event.get("format", TEXT),
            error=event.get("error"),
            parent=event.get("parent"),
            metadata=event.get("metadata"),
            id=event["id"],
        )
        step.started_at, step.ended_at = event["start"], event.get("end")
        step._sent_in = data["session"]
        return step

    def __repr__(self) -> str:
        return f"<Step {self.id} {self.name!r}>"


def is_step(event: dict[str, Any]) -> bool:
    """Return True for the event of a step, False for that of a message."""
    return "output" in event


def ended(event: dict[str, Any], *, cut: bool) -> tuple[str, dict[str, Any]]:
    """Return the name and the data of the event that closes the stream of ``event``."""
    closed = event | {"streaming": False}
    if not is_step(event):
        return Streaming.update_name, closed
    if "end" not in event:
        closed["end"] = datetime.now(UTC).isoformat()
        if cut:
            closed.setdefault("error", str(CUT))
    return Step.update_name, closed


@overload
def step(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def step(
    *, name: str = "", type: str = "tool", show_input: bool = True, format: Format = TEXT
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def step(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str = "",
    type: str = "tool",  # noqa: A002  # Chainlit's name
    show_input: bool = True,
    format: Format = TEXT,  # noqa: A002  # the wire's name
) -> Callable[P, R] | Callable[[Callable[P, R]], Callable[P, R]]:
    """
    Show each call of a function as a :class:`Step`: ``@step`` or ``@step(type="llm")``.

    The step's ``name`` is the function's unless another is given. Its input is the arguments,
    unless ``show_input`` is false. Its output is what the function returns, unless the function
    has set one; ``format`` is the format of the output. Both are cut to fit into an event. The
    function may be ``async def`` or ``def``. Outside of sessions it runs without a step. Raises
    ``TypeError`` for a generator, which runs after its call has returned.
    """
    decorate = partial(
        _decorated, name=name, type_=type, show_input=show_input, format_=checked_format(format)
    )
    return decorate if function is None else decorate(function)


def _decorated(
    function: Callable[P, R], *, name: str, type_: str, show_input: bool, format_: Format
) -> Callable[P, R]:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{function!r} is a generator, which runs after its call has returned: write "
            "'async with Step(…) as step:' in it, and step.stream_token()."
        )
    signature = inspect.signature(function)

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Step | None:
        if find_context() is None:
            return None
        made = Step(name or function.__name__, type_, format=format_)
        if show_input:
            made.input = _shown(_arguments(signature, args, kwargs))
        return made

    def end(made: Step, result: object) -> None:
        if result is not None and not made.output:
            made.output = _shown(result)

    if iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            made = begin(args, kwargs)
            if made is None:
                return await function(*args, **kwargs)
            async with made:
                result = await function(*args, **kwargs)
                end(made, result)
            return result

        return call_async  # type: ignore[return-value]  # R is a coroutine here

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        made = begin(args, kwargs)
        if made is None:
            return function(*args, **kwargs)
        with made:
            result = function(*args, **kwargs)
            end(made, result)
        return result

    return call


def _arguments(
    signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a call by name, without ``self``."""
    try:
        given = signature.bind(*args, **kwargs).arguments
    except TypeError:  # the call itself will raise it
        return kwargs
    return {key: value for key, value in given.items() if key not in ("self", "cls")}


def _shown(value: object) -> str:
    """Return ``value`` as text that fits into an event."""
    try:
        text = as_text(value)
    except (TypeError, ValueError, RecursionError):
        try:
            text = as_text(msgspec.to_builtins(value, enc_hook=repr, str_keys=True))
        except (TypeError, ValueError, RecursionError):
            text = repr(value)
    limit = settings.MAX_EVENT_BYTES // 16  # a character has at most six bytes in JSON
    text = printable(text)
    return text if len(text) <= limit else f"{text[:limit]}…"

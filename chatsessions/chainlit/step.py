"""``Step`` and ``@step``: what a bot does on its way to an answer, by Chainlit's signatures."""

from __future__ import annotations

import functools
import inspect
import json
from asyncio import CancelledError
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Self, cast
from uuid import uuid4

from asgiref.sync import iscoroutinefunction

import chatsessions
from chatsessions.exceptions import TurnStopped
from chatsessions.handlers.context import find_context
from chatsessions.handlers.messages import default_format
from chatsessions.handlers.session import error_text
from chatsessions.handlers.steps import CUT, FAILED
from chatsessions.storage.conversation import TEXT

from .element import Element
from .logger import logger
from .registry import author_of
from .session import current_session, current_thread_id, here, local_steps, rebuilding, utc_now
from .sync import run_sync
from .types import StepDict

#: The attributes of a step that change while it runs, by their keys in a dict.
CHANGING = {
    "name": "name",
    "input": "input",
    "output": "output",
    "isError": "is_error",
    "start": "start",
    "end": "end",
    "language": "language",
    "metadata": "metadata",
}
#: What is shown in place of bytes.
BINARY = "STRIPPED_BINARY_DATA"


class Step:
    """
    One step on the way to an answer, such as a call of a tool.

    ``async with Step(name="search") as step:`` shows it as running, and as done at the end of the
    block. ``input`` and ``output`` are text; a dict or list is shown as JSON.
    """

    #: Whether the page shows it, which it does not for the run of a handler.
    is_shown = True

    def __init__(
        self,
        name: str | None = "Assistant",
        type: str = "undefined",  # noqa: A002  # Chainlit's name
        id: str | None = None,  # noqa: A002  # Chainlit's name
        parent_id: str | None = None,
        elements: list[Element] | None = None,
        metadata: dict[str, Any] | None = None,
        tags: list[str] | None = None,
        language: str | None = None,
        icon: str | None = None,
        default_open: bool | None = False,  # noqa: FBT001, FBT002, RUF100  # Chainlit's signature
        auto_collapse: bool | None = False,  # noqa: FBT001, FBT002, RUF100
        show_input: bool | str = "json",  # noqa: FBT001, FBT002, RUF100
        thread_id: str | None = None,
    ) -> None:
        self.name = name or ""
        self.type = type
        self.id = id or str(uuid4())
        self.parent_id = parent_id
        self.elements = list(elements or [])
        self.metadata = metadata or {}
        self.tags = tags
        self.language = language
        self.icon = icon
        self.default_open = default_open
        self.auto_collapse = auto_collapse
        self.show_input = show_input
        self.thread_id = thread_id or current_thread_id()
        self.is_error = False
        self.generation: Any = None
        self.created_at: str | None = utc_now()
        self.start: str | None = None
        self.end: str | None = None
        self.streaming = False
        self.persisted = False
        self.fail_on_persist_error = False
        self._input = ""
        #: The error of a step that was cut short, which keeps its output so far.
        self._cut = ""
        #: The core's step, which has the output.
        self.core = chatsessions.Step(id=self.id)

    @property
    def input(self) -> str:
        """What the step works on."""
        return self._input

    @input.setter  # noqa: A003
    def input(self, content: object) -> None:
        self._input = _as_text(content)[0]

    @property
    def output(self) -> str:
        """The result of the step, with all tokens so far."""
        return self.core.output

    @output.setter
    def output(self, content: object) -> None:
        self.core.output, language = _as_text(content)
        self.language = language or self.language

    def to_dict(self) -> StepDict:
        """Return the step as a dict."""
        return {
            "name": self.name,
            "type": self.type,
            "id": self.id,
            "threadId": self.thread_id,
            "parentId": self.parent_id,
            "streaming": self.streaming,
            "metadata": self.metadata | ({"icon": self.icon} if self.icon else {}),
            "tags": self.tags,
            "input": self.input,
            "isError": self.is_error,
            "output": self.output,
            "createdAt": self.created_at,
            "start": self.start,
            "end": self.end,
            "language": self.language,
            "defaultOpen": self.default_open,
            "autoCollapse": self.auto_collapse,
            "showInput": self.show_input,
            "generation": self.generation and self.generation.to_dict(),
        }

    @classmethod
    def from_dict(cls, step_dict: StepDict) -> Self:
        """Return the step that ``step_dict`` describes."""
        made = cls(
            type=step_dict["type"],
            id=step_dict["id"],
            parent_id=step_dict.get("parentId"),
            tags=step_dict.get("tags"),
            icon=step_dict.get("icon"),
            show_input=step_dict.get("showInput") or False,
        )
        made.take(step_dict)
        return made

    def take(self, step_dict: StepDict) -> None:
        """Set the attributes to the values in ``step_dict``."""
        given = cast("dict[str, Any]", step_dict)
        for key, attribute in CHANGING.items():
            if given.get(key) is not None:
                setattr(self, attribute, given[key])

    async def send(self) -> Self:
        """Show the step, once. A step without a block ends with its turn."""
        session = current_session()
        if self.is_shown and not self.persisted:
            self.name = await author_of(self.name)
            await self._tell()
            self.persisted = True
            session.remember(self)
        return self

    async def update(self) -> bool:
        """Show the step as it is now."""
        current_session()
        await self._tell()
        return True

    async def remove(self) -> bool:
        """Take the step off the page."""
        current_session()
        if not rebuilding.get():
            await self.core.remove()
        return True

    async def stream_token(
        self,
        token: str,
        is_sequence: bool = False,  # noqa: FBT001, FBT002, RUF100  # Chainlit's signature
        is_input: bool = False,  # noqa: FBT001, FBT002, RUF100
    ) -> None:
        """Add ``token`` to the output, or the input, and show it at once."""
        session = current_session()
        if not token or not self.is_shown:
            return
        if is_input:
            self.input = token if is_sequence else self.input + token
            await self._tell()
        elif rebuilding.get():
            self.output = token if is_sequence else self.output + token
        else:
            if not self.streaming:
                self._describe()
                self.streaming = True
                session.remember(self)
            await self.core.stream_token(token, is_sequence)

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate a function as :func:`step` does: ``@cl.Step(type="tool")``."""
        decorate = step(name=self.name, type=self.type, id=self.id, parent_id=self.parent_id)
        decorated: Callable[..., Any] = decorate(func)
        return decorated

    async def __aenter__(self) -> Self:
        self._begin()
        try:
            return await self.send()
        except BaseException:
            self._leave()
            raise

    async def __aexit__(self, _kind: Any, error: BaseException | None, _traceback: Any) -> None:
        if self._ended(error):
            await self.update()

    def __enter__(self) -> Self:
        self._begin()
        try:
            return run_sync(self.send())
        except BaseException:
            self._leave()
            raise

    def __exit__(self, _kind: Any, error: BaseException | None, _traceback: Any) -> None:
        if self._ended(error):
            run_sync(self.update())

    def _begin(self) -> None:
        steps = local_steps.get() or []
        self.start = utc_now()
        if not self.parent_id and steps:
            self.parent_id = steps[-1].id
        local_steps.set([*steps, self])

    def _ended(self, error: BaseException | None) -> bool:
        """Record the end of the block; return False if the end of the turn closes the step."""
        self.end = utc_now()
        self._leave()
        context = here()
        if isinstance(error, CancelledError | TurnStopped):
            if context.turn is not None and context.turn.stopped:
                return False
            self.is_error, self._cut = True, str(CUT)
        elif error is not None:
            self.is_error = True
            self.output = error_text(context.session, error, FAILED)
        return True

    def _leave(self) -> None:
        local_steps.set([one for one in local_steps.get() or [] if one is not self])

    async def _tell(self) -> None:
        """Send the step as it is now."""
        self.streaming = False
        if rebuilding.get() or not self.is_shown:
            return
        self._describe()
        if self.end is not None or (self.start is None and self.output):
            await self.core.finish()
        else:
            await self.core.update()
        for element in self.elements:
            if not element.persisted:
                await element.save()
                await element.say()

    def _describe(self) -> None:
        """Copy the step's current values to the core's step."""
        core = self.core
        core.id, core.name = self.id, self.name
        core.type = "step" if self.type == "undefined" else self.type
        core.input = self.input if self.show_input else ""
        core.error = (self._cut or self.output or str(FAILED)) if self.is_error else None
        core.format = TEXT if self.language else default_format(find_context())
        more = {"icon": self.icon, "language": self.language}
        core.metadata = {key: value for key, value in more.items() if value} | self.metadata or None
        # A run or a message is not shown as a step, so it cannot be the parent on the page.
        parent = current_session().sent.get(self.parent_id or "")
        core.parent = parent.id if isinstance(parent, Step) else None

    def __repr__(self) -> str:
        return f"<Step {self.id} {self.name!r}>"


def step(
    original_function: Callable[..., Any] | None = None,
    *,
    name: str | None = "",
    type: str = "undefined",  # noqa: A002  # Chainlit's name
    id: str | None = None,  # noqa: A002  # Chainlit's name
    parent_id: str | None = None,
    tags: list[str] | None = None,
    metadata: dict[str, Any] | None = None,
    language: str | None = None,
    icon: str | None = None,
    show_input: bool | str = "json",
    default_open: bool = False,
    auto_collapse: bool = False,
) -> Any:
    """
    Show each call of a function as a :class:`Step`: ``@step`` or ``@step(type="tool")``.

    Its input is the arguments; its output is what the function returns, unless it has set one.
    Outside of sessions the function runs without a step.
    """

    def decorate(func: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(func)

        def begin(args: Any, kwargs: Any) -> Step:
            made = Step(
                name=name or func.__name__,
                type=type,
                id=id,
                parent_id=parent_id,
                tags=tags,
                metadata=metadata,
                language=language,
                icon=icon,
                show_input=show_input,
                default_open=default_open,
                auto_collapse=auto_collapse,
            )
            made.input = _arguments(signature, args, kwargs)
            return made

        if iscoroutinefunction(func):

            @functools.wraps(func)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                if find_context() is None:
                    return await func(*args, **kwargs)
                async with begin(args, kwargs) as made:
                    result = await func(*args, **kwargs)
                    if result and not made.output:
                        made.output = result
                return result

            return call_async

        @functools.wraps(func)
        def call(*args: Any, **kwargs: Any) -> Any:
            if find_context() is None:
                return func(*args, **kwargs)
            with begin(args, kwargs) as made:
                result = func(*args, **kwargs)
                if result and not made.output:
                    made.output = result
            return result

        return call

    return decorate if original_function is None else decorate(original_function)


def _arguments(signature: inspect.Signature, args: Any, kwargs: Any) -> dict[str, Any]:
    """Return the arguments of a call by name."""
    try:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return {key: deepcopy(value) for key, value in bound.arguments.items()}
    except Exception as error:  # arguments that cannot be copied are shown as they are
        logger.debug("The arguments of a step cannot be copied: %s", error)
        return {"args": args, **kwargs}


def _as_text(content: object) -> tuple[str, str | None]:
    """Return an input or output as text, and the language of that text if it was no str."""
    if content is None:
        return "", None
    if isinstance(content, str):
        return content, None
    content = _without_bytes(content)
    if isinstance(content, dict | list | tuple):
        try:
            return json.dumps(content, indent=4, ensure_ascii=False), "json"
        except (TypeError, ValueError):
            pass
    return str(content).replace("\\n", "\n"), "text"


def _without_bytes(item: Any) -> Any:
    if isinstance(item, bytes):
        return BINARY
    if isinstance(item, dict):
        return {key: _without_bytes(value) for key, value in item.items()}
    if isinstance(item, list):
        return [_without_bytes(one) for one in item]
    if isinstance(item, tuple):
        return tuple(_without_bytes(one) for one in item)
    return item

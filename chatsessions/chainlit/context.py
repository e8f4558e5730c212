"""``context``: the current session, and its emitter."""

from __future__ import annotations

import asyncio
from contextvars import Token
from typing import Any

from chatsessions.handlers.context import Context, current_context, find_context

from .emitter import BaseChainlitEmitter, ChainlitEmitter
from .session import BaseSession, ChainlitContextException, current_session, here, local_steps


class ChainlitContext:
    """The session that the running code belongs to, and its emitter."""

    def __init__(self, session: BaseSession, emitter: BaseChainlitEmitter | None = None) -> None:
        self.session = session
        self.emitter = emitter or ChainlitEmitter(session)
        self.core: Context = here()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the session."""
        return self.core.emitter.loop

    @property
    def current_step(self) -> Any:
        """The innermost step that the running code belongs to; None if there is none."""
        steps = local_steps.get()
        return steps[-1] if steps else None

    @property
    def current_run(self) -> Any:
        """The run of the handler that the running code belongs to; None if there is none."""
        return next((one for one in local_steps.get() or [] if one.type == "run"), None)


def get_context() -> ChainlitContext:
    """Return the current context. Raises ``ChainlitContextException`` if there is none."""
    return ChainlitContext(current_session())


class _ContextVar:
    """Gets and sets the current context as a ``ContextVar`` does."""

    name = "chainlit"

    def get(self, *default: Any) -> Any:
        """Return the current context or ``default``. Raises ``LookupError`` without either."""
        if find_context() is None and default:
            return default[0]
        return get_context()

    def set(self, value: ChainlitContext) -> Token[Context | None]:
        """Make ``value`` the current context; return the token for :meth:`reset`."""
        return current_context.set(value.core)

    def reset(self, token: Token[Context | None]) -> None:
        """Restore the context that was current before :meth:`set`."""
        current_context.reset(token)


context_var = _ContextVar()


class _CurrentContext:
    """A proxy whose attributes are those of the current context."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(get_context(), name)

    def __repr__(self) -> str:
        return "<context: none here>" if find_context() is None else repr(get_context())


context = _CurrentContext()


__all__ = [
    "ChainlitContext",
    "ChainlitContextException",
    "context",
    "context_var",
    "get_context",
    "local_steps",
]

"""``context``: the current session, and its emitter."""

from __future__ import annotations

import asyncio
from typing import Any

from chatsessions.handlers.context import Context, find_context, use_context

from .emitter import BaseChainlitEmitter, ChainlitEmitter
from .names import missing
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

    def set(self, value: ChainlitContext) -> use_context:
        """Make ``value`` the current context; return the token for :meth:`reset`."""
        token = use_context(value.core)
        token.__enter__()
        return token

    def reset(self, token: use_context) -> None:
        """Restore the context that was current before :meth:`set`."""
        token.__exit__()


context_var = _ContextVar()


class _CurrentContext:
    """A proxy whose attributes are those of the current context."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(get_context(), name)

    def __repr__(self) -> str:
        return "<context: none here>" if find_context() is None else repr(get_context())


context = _CurrentContext()


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)


__all__ = [
    "ChainlitContext",
    "ChainlitContextException",
    "context",
    "context_var",
    "get_context",
    "local_steps",
]

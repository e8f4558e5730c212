"""``ChatSettings``: a form for the settings of the session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from .input_widget import InputWidget
from .names import missing
from .session import current_session, here, rebuilding


class ChatSettings:
    """The inputs of a session's settings."""

    def __init__(self, inputs: Sequence[InputWidget]) -> None:
        self.inputs = list(inputs)
        ids = [widget.id for widget in self._each()]
        for double in {key for key in ids if ids.count(key) > 1}:
            raise ValueError(f"Two inputs have the id {double!r}.")

    def _each(self) -> Iterator[InputWidget]:
        yield from self.inputs

    def settings(self) -> dict[str, Any]:
        """Return the initial values."""
        return {widget.id: widget.initial for widget in self._each()}

    async def send(self) -> dict[str, Any]:
        """Show the form with its initial values, which become the session's, and return them."""
        session = current_session()
        if rebuilding.get():
            return self.settings() | session.chat_settings
        values = self.settings()
        await here().emitter.declare_settings(self._inputs(), values)
        return values

    async def refresh(self) -> dict[str, Any]:
        """Show the form, and leave the session's settings as they are; return the initial ones."""
        session = current_session()
        if not rebuilding.get():
            values = self.settings()
            kept = {key: value for key, value in session.chat_settings.items() if key in values}
            await here().emitter.declare_settings(self._inputs(), values | kept)
        return self.settings()

    def _inputs(self) -> Any:
        return msgspec.to_builtins([widget.as_core() for widget in self.inputs])


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)

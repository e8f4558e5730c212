"""``ChatSettings``: what the user may adjust."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from chatsessions.input_widget import InputWidget

from .bridge import also_sync
from .context import (
    current,
    owner_loop,
)


class ChatSettings:
    """
    Declares the session's settings: ``await ChatSettings([Slider(id="t", …), …]).send()``.

    The page shows a form of ``inputs``. What the user changes is checked against them, kept with
    the session, given to ``on_settings_update``, and read as
    ``user_session.get("chat_settings")``.
    """

    def __init__(self, inputs: Sequence[InputWidget]) -> None:
        self.inputs = list(inputs)
        ids = [widget.id for widget in self.inputs]
        for double in {key for key in ids if ids.count(key) > 1}:
            raise ValueError(f"Two inputs have the id {double!r}.")

    @also_sync(owner_loop)
    async def send(self) -> dict[str, Any]:
        """
        Declare the inputs, all at their initial values, which are returned.

        It replaces what was declared before. Raises what ``context.emitter.emit`` raises.
        """
        values = {widget.id: widget.initial for widget in self.inputs}
        inputs = msgspec.to_builtins(self.inputs)
        await current("ChatSettings.send").emitter.declare_settings(inputs, values)
        return values

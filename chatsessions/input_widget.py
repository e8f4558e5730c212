"""
The inputs of the chat settings: ``Select``, ``Slider``, ``Switch``, ``TextInput`` and ``Tags``.

Each checks the value that a client sends. They are stored with the session as they go over the
wire, so a session that is taken up again checks as before.
"""

from __future__ import annotations

from math import inf
from typing import Any

import msgspec

from .exceptions import FrameError

#: The longest text that a client may set, in characters.
MAX_TEXT = 10_000
#: The most tags.
MAX_TAGS = 100


class InputWidget(msgspec.Struct, kw_only=True, tag_field="type"):
    """One input: ``id`` is its key in the settings, ``label`` what the user reads."""

    id: str
    label: str
    initial: Any = None
    tooltip: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError(f"{type(self).__name__} needs an id.")
        if not self.accepts(self.initial):
            raise ValueError(f"{self.id}: {self.initial!r} cannot be initial, only {self.expected}")

    def accepts(self, value: Any) -> bool:
        """Whether a client may set this."""
        return value is None

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        return "null"


class Select(InputWidget, tag="select"):
    """One of ``values``, or of the values of ``items`` (labels to values)."""

    values: list[str] | None = None
    items: dict[str, str] | None = None
    #: Either says what is chosen at first.
    initial_index: int | None = None
    initial_value: str | None = None

    def __post_init__(self) -> None:
        if not self.choices or (self.values and self.items):
            raise ValueError(f"{self.id}: a Select needs either values or items.")
        if self.initial_index is not None:
            if not 0 <= self.initial_index < len(self.choices):
                raise ValueError(f"{self.id}: there is no choice number {self.initial_index}.")
            self.initial = self.choices[self.initial_index]
        elif self.initial_value is not None:
            self.initial = self.initial_value
        super().__post_init__()

    @property
    def choices(self) -> list[str]:
        return list(self.values or (self.items or {}).values())

    def accepts(self, value: Any) -> bool:
        return value in self.choices or (value is None and self.initial is None)

    @property
    def expected(self) -> str:
        return f"one of {', '.join(self.choices)}"


class Slider(InputWidget, tag="slider"):
    """A number from ``min`` to ``max``."""

    initial: float = 0
    min: float = 0
    max: float = 10
    step: float = 1

    def __post_init__(self) -> None:
        if not self.min < self.max or self.step <= 0:
            raise ValueError(f"{self.id}: a Slider needs min < max, and a step above 0.")
        super().__post_init__()

    def accepts(self, value: Any) -> bool:
        # Whether it is on a step is the page's affair: floating point would refuse many that are.
        number = isinstance(value, int | float) and not isinstance(value, bool)
        # Not isfinite(): JSON has whole numbers that no float can hold.
        return number and self.min <= value <= self.max and abs(value) != inf

    @property
    def expected(self) -> str:
        return f"a number from {self.min:g} to {self.max:g}"


class Switch(InputWidget, tag="switch"):
    """On or off."""

    initial: bool = False

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool)

    @property
    def expected(self) -> str:
        return "true or false"


class TextInput(InputWidget, tag="textinput"):
    """A text of at most ``MAX_TEXT`` characters."""

    initial: str | None = None
    placeholder: str = ""
    multiline: bool = False

    def accepts(self, value: Any) -> bool:
        return value is None or (isinstance(value, str) and len(value) <= MAX_TEXT)

    @property
    def expected(self) -> str:
        return f"a text of at most {MAX_TEXT:,} characters"


class Tags(InputWidget, tag="tags"):
    """A list of words; ``values`` are offered, and others may be written."""

    initial: list[str] = []  # msgspec copies it
    values: list[str] = []

    def accepts(self, value: Any) -> bool:
        return (
            isinstance(value, list)
            and len(value) <= MAX_TAGS
            and all(isinstance(tag, str) and len(tag) <= 200 for tag in value)
        )

    @property
    def expected(self) -> str:
        return f"a list of at most {MAX_TAGS} words"


Input = Select | Slider | Switch | TextInput | Tags


def check_settings(inputs: list[dict[str, Any]], data: dict[str, Any], *, n: int) -> None:
    """
    Raise ``FrameError`` ``bad_frame`` for settings that the declared ``inputs`` do not allow.

    A chat that declares none takes what comes.
    """
    if not inputs:
        return
    known = {widget.id: widget for widget in msgspec.convert(inputs, list[Input])}
    for key, value in data.items():
        widget = known.get(key)
        if widget is None:
            raise FrameError("bad_frame", f"settings: there is no {key[:100]!r}", n=n)
        if not widget.accepts(value):
            detail = f"settings: {key!r} is {widget.expected}"
            raise FrameError("bad_frame", detail[:300], n=n)

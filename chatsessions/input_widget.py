"""
The inputs of the chat settings: ``Select``, ``Slider``, ``Switch``, ``TextInput`` and others.

Each checks the value that a client sends. They are stored with the session as they go over the
wire, so a resumed session checks as before.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import date
from math import inf
from typing import Any, Literal

import msgspec
from django.utils.translation import gettext, gettext_noop

from .exceptions import FrameError

#: The longest text that a client may set, in characters.
MAX_TEXT = 10_000
#: The most tags.
MAX_TAGS = 100

#: A message that ``gettext`` translates, and the values of its placeholders.
Words = tuple[str, dict[str, Any]]


class InputWidget(msgspec.Struct, kw_only=True, tag_field="type"):
    """
    One input: ``id`` is its key in the settings, ``label`` what the user reads.

    A client shows the value of a ``disabled`` input, and cannot change it.
    """

    id: str
    label: str
    initial: Any = None
    tooltip: str | None = ""
    description: str | None = ""
    disabled: bool | None = False

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError(f"{type(self).__name__} needs an id.")
        if not self.accepts(self.initial):
            message, values = self.expected
            allowed = message % values
            raise ValueError(f"{self.id}: {self.initial!r} cannot be initial, only {allowed}")

    def accepts(self, value: Any) -> bool:
        """Return True if a client may set ``value``."""
        return value is None

    @property
    def expected(self) -> Words:
        """The accepted values, in words."""
        return gettext_noop("null"), {}


class Select(InputWidget, tag="select"):
    """One of ``values``, or of the values of ``items`` (labels to values)."""

    values: list[str] | None = None
    items: dict[str, str] | None = None
    #: The initial choice, by its index or by its value; the index wins.
    initial_index: int | None = None
    initial_value: str | None = None

    def __post_init__(self) -> None:
        if not self.choices or (self.values and self.items):
            kind = type(self).__name__
            raise ValueError(f"{self.id}: a {kind} needs either values or items.")
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
    def expected(self) -> Words:
        return gettext_noop("one of %(choices)s"), {"choices": _listed(self.choices)}


class RadioGroup(Select, tag="radio"):
    """A ``Select`` that shows all choices on the page."""


class MultiSelect(InputWidget, tag="multiselect"):
    """Any of ``values``, or of the values of ``items`` (labels to values)."""

    initial: list[str] = []  # msgspec copies it
    values: list[str] | None = None
    items: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if not self.choices or (self.values and self.items):
            raise ValueError(f"{self.id}: a MultiSelect needs either values or items.")
        super().__post_init__()

    @property
    def choices(self) -> list[str]:
        return list(self.values or (self.items or {}).values())

    def accepts(self, value: Any) -> bool:
        choices = self.choices
        return (
            isinstance(value, list)
            and len(value) <= len(choices)
            and all(one in choices and value.count(one) == 1 for one in value)
        )

    @property
    def expected(self) -> Words:
        return gettext_noop("some of %(choices)s, each once"), {"choices": _listed(self.choices)}


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
        # ``step`` is not checked: floating point would refuse many values that are on a step.
        number = isinstance(value, int | float) and not isinstance(value, bool)
        # Not isfinite(): JSON has whole numbers that no float can hold.
        return number and self.min <= value <= self.max and abs(value) != inf

    @property
    def expected(self) -> Words:
        return gettext_noop("a number from %(min)g to %(max)g"), {"min": self.min, "max": self.max}


class NumberInput(InputWidget, tag="numberinput"):
    """A number, or None."""

    initial: float | None = None
    placeholder: str | None = ""

    def accepts(self, value: Any) -> bool:
        if value is None:
            return True
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) <= sys.float_info.max

    @property
    def expected(self) -> Words:
        return gettext_noop("a number, or null"), {}


class Switch(InputWidget, tag="switch"):
    """On or off."""

    initial: bool = False

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool)

    @property
    def expected(self) -> Words:
        return gettext_noop("true or false"), {}


class Checkbox(Switch, tag="checkbox"):
    """A ``Switch`` with another look."""


class TextInput(InputWidget, tag="textinput"):
    """A text of at most ``MAX_TEXT`` characters."""

    initial: str | None = None
    placeholder: str | None = ""
    multiline: bool = False

    def accepts(self, value: Any) -> bool:
        return value is None or (isinstance(value, str) and len(value) <= MAX_TEXT)

    @property
    def expected(self) -> Words:
        return gettext_noop("a text of at most %(count)d characters"), {"count": MAX_TEXT}


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
    def expected(self) -> Words:
        return gettext_noop("a list of at most %(count)d words"), {"count": MAX_TAGS}


class DatePicker(InputWidget, tag="datepicker"):
    """
    A day, as ``"2026-05-01"`` or None; in the mode ``range`` the first and the last, in a list.

    ``initial``, ``min_date`` and ``max_date`` may be a ``datetime.date`` too. The page writes days
    as the reader's browser does; ``format`` is for a page of your own.
    """

    initial: Any = None
    mode: Literal["single", "range"] = "single"
    min_date: Any = None
    max_date: Any = None
    format: str | None = None
    placeholder: str | None = ""

    def __post_init__(self) -> None:
        if self.mode not in ("single", "range"):
            raise ValueError(f"{self.id}: the mode of a DatePicker is 'single' or 'range'.")
        self.min_date, self.max_date = _written(self.min_date), _written(self.max_date)
        if any(not _is_day(one) for one in (self.min_date, self.max_date) if one is not None):
            raise ValueError(f"{self.id}: min_date and max_date are days, such as '2026-05-01'.")
        if isinstance(self.initial, list | tuple):
            self.initial = [_written(one) for one in self.initial]
        else:
            self.initial = _written(self.initial)
        super().__post_init__()

    def accepts(self, value: Any) -> bool:
        if value is None:
            return True
        if self.mode == "single":
            return self._is_allowed(value)
        return (
            isinstance(value, list)
            and len(value) == 2
            and all(map(self._is_allowed, value))
            and value[0] <= value[1]
        )

    def _is_allowed(self, value: Any) -> bool:
        # ISO dates sort as text.
        return _is_day(value) and (self.min_date or "") <= value <= (self.max_date or value)

    @property
    def expected(self) -> Words:
        is_day = self.mode == "single"
        if not (self.min_date or self.max_date):
            if is_day:
                return gettext_noop("a day such as 2026-05-01, or null"), {}
            return gettext_noop("a first and a last day such as 2026-05-01, or null"), {}
        limits = {"first": self.min_date or "…", "last": self.max_date or "…"}
        if is_day:
            days = gettext_noop("a day such as 2026-05-01 from %(first)s to %(last)s, or null")
        else:
            days = gettext_noop(
                "a first and a last day such as 2026-05-01 from %(first)s to %(last)s, or null"
            )
        return days, limits


def _listed(choices: Sequence[str]) -> str:
    return ", ".join(choices)


def _written(day: Any) -> Any:
    """Return a day as it goes over the wire."""
    return day.isoformat()[:10] if isinstance(day, date) else day


def _is_day(value: Any) -> bool:
    """Return True for a day that is written as 2026-05-01."""
    try:
        return isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


Input = (
    Select
    | RadioGroup
    | MultiSelect
    | Slider
    | NumberInput
    | Switch
    | Checkbox
    | TextInput
    | Tags
    | DatePicker
)


class Tab(msgspec.Struct, kw_only=True, tag_field="type", tag="tab"):
    """A group of inputs, which the page shows behind a tab. It has no value of its own."""

    id: str
    label: str
    inputs: list[Input] = []


def widgets_of(inputs: Iterable[InputWidget | Tab]) -> list[InputWidget]:
    """Return all inputs, those behind tabs included, in order."""
    found: list[InputWidget] = []
    for one in inputs:
        found += one.inputs if isinstance(one, Tab) else [one]
    return found


def check_inputs(inputs: Iterable[InputWidget | Tab]) -> None:
    """
    Raise ``TypeError`` for what is no input, and for attributes of a wrong type.

    With such inputs a client's settings could not be checked.
    """
    for one in inputs:
        if isinstance(one, Tab):
            check_inputs(one.inputs)
        elif not isinstance(one, InputWidget):
            raise TypeError(f"{one!r:.80} is no input: write Select(id=…, label=…) or the like.")
        try:
            msgspec.convert(msgspec.to_builtins(one), Input | Tab)
        except (msgspec.ValidationError, TypeError) as error:
            raise TypeError(f"The {type(one).__name__} {one.id!r:.80}: {error}.") from error


def check_settings(
    inputs: Sequence[dict[str, Any]], data: dict[str, Any], values: dict[str, Any], *, n: int
) -> None:
    """
    Raise ``FrameError`` ``bad_frame`` for settings that the declared ``inputs`` do not allow.

    ``values`` are the current settings. A chat that declares no inputs accepts any settings.
    """
    if not inputs:
        return
    declared = msgspec.convert(inputs, list[Input | Tab])
    known = {widget.id: widget for widget in widgets_of(declared)}
    for key, value in data.items():
        widget = known.get(key)
        if widget is None:
            detail = gettext("settings: there is no %(name)s") % {"name": repr(key[:100])}
            raise FrameError("bad_frame", detail, n=n)
        if not widget.accepts(value):
            message, words = widget.expected
            detail = gettext("settings: %(name)s is %(expected)s")
            named = {"name": repr(key), "expected": gettext(message) % words}
            raise FrameError("bad_frame", (detail % named)[:300], n=n)
        if widget.disabled and value != values.get(key, widget.initial):
            detail = gettext("settings: %(name)s cannot be changed now") % {"name": repr(key)}
            raise FrameError("bad_frame", detail[:300], n=n)

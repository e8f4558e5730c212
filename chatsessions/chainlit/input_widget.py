"""The inputs of the chat settings, by Chainlit's signatures."""

from __future__ import annotations

import builtins
from dataclasses import dataclass, field
from datetime import date
from typing import Any, ClassVar, Literal, cast

from chatsessions import input_widget as core

from .types import InputWidgetType


@dataclass
class InputWidget:
    """One input: ``id`` is its key in the settings, ``label`` what the user reads."""

    #: The core's class.
    core_class: ClassVar[builtins.type[core.InputWidget]] = core.InputWidget
    #: The attributes of the core's class that it does not get.
    own: ClassVar[tuple[str, ...]] = ()

    id: str
    label: str
    initial: Any = None
    tooltip: str | None = None
    description: str | None = None
    disabled: bool | None = False
    #: The type of the input, also on the wire: that of its class.
    type: InputWidgetType | None = None

    def __post_init__(self) -> None:
        if not self.id or not self.label:
            raise ValueError("Must provide key and label to load InputWidget")
        self.type = self.type or cast("InputWidgetType", self.core_class.__struct_config__.tag)
        self.as_core()  # raises for what the core would refuse

    def as_core(self) -> core.InputWidget:
        """Return the input as the core declares it."""
        return self.core_class(**self._fields())

    def _fields(self) -> dict[str, Any]:
        names = self.core_class.__struct_fields__
        return {name: getattr(self, name) for name in names if name not in self.own}

    def to_dict(self) -> dict[str, Any]:
        """Return the input as a dict."""
        found = {"type": self.type} | self._fields() | {"initial": self.as_core().initial}
        if "items" in found:
            items = found["items"].items()
            found["items"] = [{"label": label, "value": value} for label, value in items]
        return found


@dataclass
class Switch(InputWidget):
    """On or off."""

    core_class = core.Switch
    initial: bool = False


@dataclass
class Checkbox(InputWidget):
    """On or off."""

    core_class = core.Checkbox
    initial: bool = False


@dataclass
class Slider(InputWidget):
    """A number from ``min`` to ``max``."""

    core_class = core.Slider
    initial: float = 0
    min: float = 0
    max: float = 10
    step: float = 1


@dataclass
class Select(InputWidget):
    """One of ``values``, or of the values of ``items``."""

    core_class = core.Select
    own = ("values", "initial_index", "initial_value")
    initial: str | None = None
    initial_index: int | None = None
    initial_value: str | None = None
    values: list[str] = field(default_factory=list)
    items: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _take_items(self)
        if self.initial_index is not None and not self.values:
            raise ValueError("initial_index can only be used in combination with values")
        if self.initial_index is not None:
            self.initial = self.values[self.initial_index]
        elif self.initial_value is not None:
            self.initial = self.initial_value
        super().__post_init__()


@dataclass
class RadioGroup(Select):
    """A ``Select`` that shows all choices on the page."""

    core_class = core.RadioGroup


@dataclass
class MultiSelect(InputWidget):
    """Some of ``values``, or of the values of ``items``."""

    core_class = core.MultiSelect
    own = ("values",)
    initial: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    items: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _take_items(self)
        super().__post_init__()


@dataclass
class TextInput(InputWidget):
    """A text."""

    core_class = core.TextInput
    initial: str | None = None
    placeholder: str | None = None
    multiline: bool = False


@dataclass
class NumberInput(InputWidget):
    """A number."""

    core_class = core.NumberInput
    initial: float | None = None
    placeholder: str | None = None


@dataclass
class Tags(InputWidget):
    """A list of words; ``values`` are offered."""

    core_class = core.Tags
    initial: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the input as a dict, without its ``values``."""
        found = super().to_dict()
        del found["values"]
        return found


@dataclass
class DatePicker(InputWidget):
    """A day, as text; in the mode ``range`` the first and the last, in a list."""

    core_class = core.DatePicker
    mode: Literal["single", "range"] = "single"
    initial: str | date | tuple[str | date, str | date] | None = None
    min_date: str | date | None = None
    max_date: str | date | None = None
    format: str | None = None
    placeholder: str | None = None


@dataclass
class Tab:
    """A group of inputs."""

    id: str
    label: str
    inputs: list[InputWidget] = field(default_factory=list)

    def as_core(self) -> core.Tab:
        """Return the group as the core declares it."""
        inputs: Any = [widget.as_core() for widget in self.inputs]
        return core.Tab(id=self.id, label=self.label, inputs=inputs)

    def to_dict(self) -> dict[str, Any]:
        """Return the group as a dict."""
        inputs = [widget.to_dict() for widget in self.inputs]
        return {"id": self.id, "label": self.label, "inputs": inputs}


def _take_items(widget: Select | MultiSelect) -> None:
    """Put the choices into ``items``, whichever way they were given."""
    name = type(widget).__name__
    if not widget.values and not widget.items:
        raise ValueError(f"Must provide values or items to create a {name}")
    if widget.values and widget.items:
        raise ValueError(f"You can only provide either values or items to create a {name}")
    widget.items = widget.items or {value: value for value in widget.values}

"""The inputs of the chat settings, by Chainlit's signatures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from chatsessions import input_widget as core

from .names import missing


@dataclass
class InputWidget:
    """One input: ``id`` is its key in the settings, ``label`` what the user reads."""

    type: ClassVar[str] = ""
    #: What of it the dict has beside the keys of all.
    keys: ClassVar[tuple[str, ...]] = ()

    id: str
    label: str
    initial: Any = None
    tooltip: str | None = None
    description: str | None = None
    disabled: bool | None = False

    def __post_init__(self) -> None:
        if not self.id or not self.label:
            raise ValueError("Must provide key and label to load InputWidget")
        self.as_core()  # raises for what the core would refuse

    def as_core(self) -> core.InputWidget:
        """Return the input as the core declares it."""
        raise NotImplementedError

    def shared(self) -> dict[str, Any]:
        """Return what inputs of every type have."""
        return {
            "id": self.id,
            "label": self.label,
            "tooltip": self.tooltip or "",
            "description": self.description or "",
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the input as a dict."""
        names = ("id", "label", "initial", *self.keys, "tooltip", "description", "disabled")
        found = {"type": self.type} | {name: getattr(self, name) for name in names}
        items = getattr(self, "items", None)
        if items is not None:
            found["items"] = [{"label": key, "value": value} for key, value in items.items()]
        return found


@dataclass
class Switch(InputWidget):
    """On or off."""

    type: ClassVar[str] = "switch"
    initial: bool = False

    def as_core(self) -> core.InputWidget:
        return core.Switch(initial=self.initial, **self.shared())


@dataclass
class Checkbox(InputWidget):
    """On or off."""

    type: ClassVar[str] = "checkbox"
    initial: bool = False

    def as_core(self) -> core.InputWidget:
        return core.Switch(initial=self.initial, **self.shared())


@dataclass
class Slider(InputWidget):
    """A number from ``min`` to ``max``."""

    type: ClassVar[str] = "slider"
    keys = ("min", "max", "step")
    initial: float = 0
    min: float = 0
    max: float = 10
    step: float = 1

    def as_core(self) -> core.InputWidget:
        return core.Slider(
            initial=self.initial, min=self.min, max=self.max, step=self.step, **self.shared()
        )


@dataclass
class _Choice(InputWidget):
    """One of ``values``, or of the values of ``items``."""

    initial: str | None = None
    initial_index: int | None = None
    initial_value: str | None = None
    values: list[str] = field(default_factory=list)
    items: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not self.values and not self.items:
            raise ValueError(f"Must provide values or items to create a {name}")
        if self.values and self.items:
            raise ValueError(f"You can only provide either values or items to create a {name}")
        if self.initial_index is not None and not self.values:
            raise ValueError(f"initial_index needs values to create a {name}")
        if self.initial_index is not None:
            self.initial = self.values[self.initial_index]
        elif self.initial_value is not None:
            self.initial = self.initial_value
        self.items = self.items or {value: value for value in self.values}
        super().__post_init__()

    def as_core(self) -> core.InputWidget:
        return core.Select(items=self.items, initial_value=self.initial, **self.shared())


@dataclass
class Select(_Choice):
    """One of several, from a list."""

    type: ClassVar[str] = "select"


@dataclass
class RadioGroup(_Choice):
    """One of several, by buttons."""

    type: ClassVar[str] = "radio"


@dataclass
class TextInput(InputWidget):
    """A text."""

    type: ClassVar[str] = "textinput"
    keys = ("placeholder", "multiline")
    initial: str | None = None
    placeholder: str | None = None
    multiline: bool = False

    def as_core(self) -> core.InputWidget:
        return core.TextInput(
            initial=self.initial,
            placeholder=self.placeholder or "",
            multiline=self.multiline,
            **self.shared(),
        )


@dataclass
class Tags(InputWidget):
    """A list of words; ``values`` are offered."""

    type: ClassVar[str] = "tags"
    initial: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    def as_core(self) -> core.InputWidget:
        return core.Tags(initial=list(self.initial), values=list(self.values), **self.shared())


@dataclass
class MultiSelect(InputWidget):
    """Some of ``values``, or of the values of ``items``."""

    type: ClassVar[str] = "multiselect"
    initial: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    items: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if bool(self.values) == bool(self.items):
            raise ValueError("Provide either values or items to create a MultiSelect")
        self.items = self.items or {value: value for value in self.values}
        super().__post_init__()

    def as_core(self) -> core.InputWidget:
        return core.Tags(
            initial=list(self.initial), values=list(self.items.values()), **self.shared()
        )


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)

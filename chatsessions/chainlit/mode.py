"""``Mode`` and ``ModeOption``: data that the page does not show."""

from __future__ import annotations

from dataclasses import dataclass, field

from .types import DictMixin


@dataclass
class ModeOption(DictMixin):
    """One choice of a mode."""

    id: str
    name: str
    description: str | None = None
    icon: str | None = None
    default: bool = False


@dataclass
class Mode(DictMixin):
    """A choice beside the user's text."""

    id: str
    name: str
    options: list[ModeOption] = field(default_factory=list)

    def get_default_option(self) -> ModeOption | None:
        """Return the default option, or else the first one; None without options."""
        first = self.options[0] if self.options else None
        return next((option for option in self.options if option.default), first)

    def get_option_by_id(self, option_id: str) -> ModeOption | None:
        """Return the option with this id, or None."""
        return next((option for option in self.options if option.id == option_id), None)

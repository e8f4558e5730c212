"""What a user chooses from: the profiles of a chat, and the messages to begin with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy

from chatsessions.exceptions import AccessRefused, ChatError

#: The longest name of a profile: it is a column of the session's row.
MAX_PROFILE_NAME = 200

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Starter:
    """
    A message that the user may begin with, by a button.

    The button shows ``label`` and ``icon``, and sends ``message`` as the user's message. ``icon``
    is one of a few names, or a sign. Raises ``ChatError`` for an empty text or a wrong type.
    """

    label: str
    message: str
    icon: str | None = None

    def __post_init__(self) -> None:
        for key in ("label", "message"):
            value = getattr(self, key)
            if not isinstance(value, str) or not value.strip():
                raise ChatError(f"The {key} of a Starter is a text, not {value!r:.80}.")
        if self.icon is not None and not isinstance(self.icon, str):
            raise ChatError(f"The icon of the Starter {self.label!r:.80} is no str.")

    def as_event(self) -> dict[str, Any]:
        """Return the starter as it goes over the wire."""
        return {"label": self.label, "message": self.message, "icon": self.icon}


def checked_starters(given: object, chat: str) -> list[Starter]:
    """Return what ``@chat.starters`` gave. Raises ``ChatError`` if that is no list of starters."""
    if given is None:
        return []
    found: list[Any] = list(given) if isinstance(given, Iterable) else [given]
    for one in found:
        if not isinstance(one, Starter):
            raise ChatError(f"The starters of {chat} are {given!r:.80}, no list of Starter.")
    return found


@dataclass(frozen=True, slots=True)
class ChatProfile:
    """
    One variant of a chat: a model, a persona, a language.

    ``name`` is what the client sends and the session keeps: 1 to 200 characters, no control
    characters. The page shows ``display_name`` instead, if there is one. ``markdown_description``
    is Markdown; ``icon`` is one of a few names or a sign, not a URL. Clients that choose none
    get the profile with ``default``. The ``starters`` of a profile are offered instead of the
    chat's. Raises ``ChatError`` for invalid values.
    """

    name: str
    markdown_description: str = ""
    icon: str | None = None
    default: bool = False
    display_name: str | None = None
    starters: Sequence[Starter] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 1 <= len(self.name) <= MAX_PROFILE_NAME:
            raise ChatError(
                f"A profile's name has 1 to {MAX_PROFILE_NAME} characters, not {self.name!r:.80}."
            )
        if _CONTROL.search(self.name):
            raise ChatError(f"The profile {self.name!r:.80} has control characters in its name.")
        for key in ("markdown_description", "icon", "display_name"):
            value = getattr(self, key)
            if not isinstance(value, str) and (value is not None or key == "markdown_description"):
                raise ChatError(f"The {key} of the profile {self.name!r} is {value!r:.80}, no str.")
        if not isinstance(self.default, bool):
            raise ChatError(f"default={self.default!r:.80} of the profile {self.name!r}: a bool.")
        checked_starters(self.starters, f"the profile {self.name!r}")


def checked_profiles(given: object, chat: str) -> list[ChatProfile]:
    """Return what ``@chat.profiles`` gave. Raises ``ChatError`` if that is no list of profiles."""
    if given is None:
        return []
    if not isinstance(given, Iterable) or isinstance(given, str | dict):
        raise ChatError(f"@profiles of {chat} returned {given!r:.80}, no list of ChatProfile.")
    found = list(given)
    for one in found:
        if not isinstance(one, ChatProfile):
            raise ChatError(f"@profiles of {chat} returned {one!r:.80}, which is no ChatProfile.")
    names = [one.name for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ChatError(f"@profiles of {chat} returned two profiles named {twice[0]!r}.")
    return found


def default_profile(offered: list[ChatProfile]) -> ChatProfile | None:
    """Return the profile of clients that choose none: the first with ``default``, or the first."""
    return next((one for one in offered if one.default), offered[0] if offered else None)


def chosen_profile(offered: list[ChatProfile], name: str) -> str:
    """
    Return the profile of a new session whose client asks for ``name``; "" for none.

    Raises ``AccessRefused`` for a profile that is not offered.
    """
    if name:
        if all(one.name != name for one in offered):
            raise AccessRefused("forbidden", gettext_lazy("This profile is not offered."))
        return name
    default = default_profile(offered)
    return default.name if default is not None else ""

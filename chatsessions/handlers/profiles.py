"""Profiles: the variants of a chat that its users choose from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from chatsessions.auth.access import Refused
from chatsessions.exceptions import ChatError

#: The longest name of a profile; it is a column of the session's row.
MAX_PROFILE_NAME = 200

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class ChatProfile:
    """
    One variant of a chat: a model, a persona, a language.

    ``name`` is what the client sends and the session keeps (1 to 200 characters, no control
    characters), ``display_name`` what the page shows instead. ``markdown_description`` is text,
    ``icon`` a word or a sign that the page may show; it fetches no address. With ``default`` it is
    the one for whoever chooses none. Raises ``ChatError``.
    """

    name: str
    markdown_description: str = ""
    icon: str | None = None
    default: bool = False
    display_name: str | None = None

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


def checked_profiles(given: object, chat: str) -> list[ChatProfile]:
    """What ``@chat.profiles`` returned. Raises ``ChatError`` if that is not a list of profiles."""
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
    """The one for whoever chooses none: the first with ``default``, else the first."""
    return next((one for one in offered if one.default), offered[0] if offered else None)


def chosen_profile(offered: list[ChatProfile], name: str) -> str:
    """
    The name that a new session gets for the ``name`` that its client asks for, "" for none.

    Raises ``Refused`` for one that is not offered.
    """
    if name:
        if all(one.name != name for one in offered):
            raise Refused("forbidden", "this profile is not offered")
        return name
    default = default_profile(offered)
    return default.name if default is not None else ""

"""Stored JSON, made readable: the values of ``user_session``, settings, the data of events."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

import msgspec
from django.utils.text import Truncator

from chatsessions.models import ChatSession
from chatsessions.storage.store import Store

from .secrets import mask

#: More than this of one text is not shown: a page is for reading.
MAX_SHOWN = 100_000
#: More bytes of one stored text are not decoded.
MAX_DECODED = 4 * 1024 * 1024

_TAG = "~#"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A text for the page, and how many characters of it were left out."""

    text: str
    left_out: int = 0
    damaged: bool = False

    @property
    def lines(self) -> int:
        return self.text.count("\n") + 1


def stored_values(session: ChatSession) -> str | None:
    """The JSON text of what ``user_session`` holds, from the cache or the row; None for nothing."""
    rows = ChatSession.objects.filter(pk=session.pk)
    row = rows.only("state_bytes", "state_revision", "generation").first()
    if row is None:
        return None
    state, _lost = Store().read_state(row)
    return state.decode() or None


def show_json(text: str, *, reveal: bool, limit: int = MAX_SHOWN) -> Shown:
    """
    Return stored JSON indented, tags in words, secrets masked unless ``reveal``.

    Text that is not readable as JSON is shown as it is, and only to those who may see secrets.
    """
    try:
        value = decode(text)
        return cut(dump(value if reveal else mask(value)), limit=limit)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        shown = cut(text if reveal else "", limit=limit)
        return Shown(text=shown.text, left_out=shown.left_out, damaged=True)


def decode(text: str) -> Any:
    """Return the value of a JSON text; ``ValueError`` (also msgspec's) if it cannot be read."""
    if len(text) > MAX_DECODED:
        raise ValueError("too long to be decoded here")
    return msgspec.json.decode(text)


def dump(value: Any, *, indent: int | None = 2) -> str:
    """Return decoded JSON as text, with the serializer's tags in words."""
    return json.dumps(_in_words(value), indent=indent, ensure_ascii=False)


def one_line(value: Any, *, limit: int = 120) -> str:
    """Return decoded JSON as one short line."""
    return Truncator(dump(value, indent=None)).chars(limit)


def cut(text: str, *, limit: int = MAX_SHOWN) -> Shown:
    """Return at most ``limit`` characters of ``text``."""
    return Shown(text=text[:limit], left_out=max(0, len(text) - limit))


def _in_words(value: Any) -> Any:
    """``{"~#date": "2024-02-29"}`` as ``"<date> 2024-02-29"``, and so on."""
    if isinstance(value, list):
        return [_in_words(item) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        [(key, content)] = value.items()
        if key.startswith(_TAG):
            return _untag(key.removeprefix(_TAG), content)
    return {key: _in_words(item) for key, item in value.items()}


def _untag(tag: str, content: Any) -> Any:
    try:
        match tag, content:
            case "dict", [*pairs]:
                return {_as_key(key): _in_words(item) for key, item in pairs}
            case "obj", [str(name), packed]:
                return {f"<{name}>": _in_words(packed)}
            case "safe", _:
                return _in_words(content)
            case "str", str():
                return b64decode(content).decode("utf-8", "replace")
            case "timedelta", [int(days), int(seconds), int(micros)]:
                return f"<timedelta> {days} d {seconds} s {micros} µs"
            case (("datetime" | "time"), [str(moment), _, zone]):
                return f"<{tag}> {moment}{f' {zone}' if zone else ''}"
    except ValueError:  # damaged: shown as it is
        return {f"{_TAG}{tag}": content}
    return f"<{tag}> {content}" if isinstance(content, str) else {f"<{tag}>": _in_words(content)}


def _as_key(key: Any) -> str:
    return key if isinstance(key, str) else dump(key, indent=None)

"""Make stored JSON readable, and mask its secrets: ``user_session``, settings, data of events."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import dataclass, replace
from typing import Any
from unicodedata import normalize

import msgspec
from django.utils.translation import gettext

from chatsessions.models import ChatSession
from chatsessions.storage.store import Store

#: Characters of one text that a page shows.
MAX_SHOWN = 100_000
#: Longer texts are not decoded.
MAX_DECODED = 4 * 1024 * 1024

#: How the serializer marks a tag.
_TAG = "~#"

#: What is shown in place of a secret value.
MASK = "••••••••"
#: Parts of secret keys. They are searched in the letters and digits of a key, in lower case.
_PARTS = re.compile(
    "password|passwd|passphrase|passcode|secret|token|apikey|authorization|cookie|credential"
    "|private|sessionkey|sessionid|accesskey|signingkey|encryptionkey|bearer|jwt|creditcard"
    "|cardnumber"
)
#: Whole secret keys. As parts they would also match authors, spins and passengers.
_WHOLE = frozenset({"auth", "pass", "pwd", "pin", "otp", "cvc", "cvv", "csrf"})
#: ``stripe_key``, ``openaiKey``: a secret key, unless it matches ``_HARMLESS_KEY``.
_SOME_KEY = re.compile(r"(?:[\W_](?i:key)|[a-z0-9]Key)$")
_HARMLESS_KEY = re.compile("public|primary|foreign|cache|sort|group", re.IGNORECASE)
#: The members that name a value in ``{"name": …, "value": …}``, and those that have the value. An
#: input of the chat settings has an ``id`` and an ``initial``.
_NAMES = ("name", "key", "id")
_VALUES = ("value", "initial", "initial_value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A text for the page; ``left_out`` is the number of characters that were cut off."""

    text: str
    left_out: int = 0
    damaged: bool = False

    @property
    def lines(self) -> int:
        return self.text.count("\n") + 1


def stored_values(session: ChatSession) -> str | None:
    """Return the JSON text of ``user_session``, from the cache or the row; None if empty."""
    rows = ChatSession.objects.filter(pk=session.pk)
    row = rows.only("state_bytes", "state_revision", "generation").first()
    if row is None:
        return None
    state, _lost = Store().read_state(row)
    return state.decode() or None


def show_json(text: str, *, reveal: bool) -> Shown:
    """
    Return stored JSON indented, with readable tags, and secrets masked unless ``reveal``.

    Text that is not JSON is shown as it is if ``reveal`` is true, and otherwise left out.
    """
    try:
        value = decode(text)
        return cut(dump(value if reveal else mask(value)), MAX_SHOWN)
    except (RecursionError, ValueError):
        return replace(cut(text if reveal else "", MAX_SHOWN), damaged=True)


def decode(text: str | bytes) -> Any:
    """Return the value of a JSON text. Raises ``ValueError`` if it is invalid or too long."""
    if len(text) > MAX_DECODED:
        raise ValueError("too long to be decoded")
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error


def dump(value: Any, *, indent: int | None = 2) -> str:
    """Return decoded JSON as text, with the serializer's tags made readable."""
    return json.dumps(_in_words(value), indent=indent, ensure_ascii=False)


def printed(value: Any, *, reveal: bool, indent: int | None = None) -> str:
    """
    Return decoded JSON as :func:`dump` does, with secrets masked unless ``reveal``.

    Data that is nested too deep to be looked through is left out.
    """
    try:
        return dump(value if reveal else mask(value), indent=indent)
    except RecursionError:
        return gettext("too long or damaged; not shown in full")


def cut(text: str, limit: int) -> Shown:
    """Return at most ``limit`` characters of ``text``."""
    return Shown(text=text[:limit], left_out=max(0, len(text) - limit))


def _in_words(value: Any) -> Any:
    """Replace ``{"~#date": "2024-02-29"}`` by ``"<date> 2024-02-29"``, and other tags likewise."""
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
    except ValueError:  # damaged, so shown as it is
        return {f"{_TAG}{tag}": content}
    return f"<{tag}> {content}" if isinstance(content, str) else {f"<{tag}>": _in_words(content)}


def _as_key(key: Any) -> str:
    return key if isinstance(key, str) else dump(key, indent=None)


# Secrets


def is_secret(key: str) -> bool:
    """Return True if a key looks secret, in any spelling: ``api_key``, ``apiKey``, ``API-KEY``."""
    key = normalize("NFKC", key)
    letters = re.sub(r"[\W_]+", "", key).casefold()
    if letters in _WHOLE or _PARTS.search(letters):
        return True
    return _SOME_KEY.search(key) is not None and not _HARMLESS_KEY.search(key)


def mask(value: Any) -> Any:
    """
    Return decoded JSON with the values of secret-looking keys replaced by ``MASK``.

    A key may also be the first of a pair (HTTP headers, the serializer's ``~#dict``), stand beside
    its value (``{"name": …, "value": …}``, an input of the chat settings) or be the class of a
    stored object.
    """
    if isinstance(value, dict):
        return _mask_object(value)
    if isinstance(value, list):
        if len(value) == 2 and _is_pair_key(value[0]):
            return [value[0], MASK]
        return [mask(item) for item in value]
    return value


def _mask_object(value: dict[str, Any]) -> dict[str, Any]:
    named = any(key in value for key in _VALUES) and any(
        is_secret(_key_text(value.get(name))) for name in _NAMES
    )
    return {
        key: MASK if is_secret(key) or (named and key in _VALUES) else mask(item)
        for key, item in value.items()
    }


def _is_pair_key(first: Any) -> bool:
    """Return True if the first of a pair is a secret-looking key: a string or a tagged value."""
    tagged = isinstance(first, dict) and len(first) == 1 and next(iter(first)).startswith("~#")
    return (tagged or isinstance(first, str)) and is_secret(_key_text(first))


def _key_text(key: Any) -> str:
    """Return the text of a key, which may also be a tagged string or a tuple of strings."""
    if isinstance(key, str):
        return key
    if isinstance(key, dict):
        return " ".join(map(_key_text, key.values()))
    return " ".join(map(_key_text, key)) if isinstance(key, list) else ""

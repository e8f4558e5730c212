"""Hides values whose keys say that they are secret, however deep they lie."""

from __future__ import annotations

import re
from typing import Any
from unicodedata import normalize

MASK = "••••••••"

#: Anywhere in a key, once it is reduced to small letters and digits.
_PARTS = re.compile(
    "password|passwd|passphrase|passcode|secret|token|apikey|authorization|cookie|credential"
    "|private|sessionkey|sessionid|accesskey|signingkey|encryptionkey|bearer|jwt|creditcard"
    "|cardnumber"
)
#: Only as the whole key: as a part they would hide authors, spins and passengers.
_WHOLE = frozenset({"auth", "pass", "pwd", "pin", "otp", "cvc", "cvv", "csrf"})
#: ``stripe_key``, ``openaiKey``: a key to something, unless it is one of these.
_SOME_KEY = re.compile(r"(?:[\W_](?i:key)|[a-z0-9]Key)$")
_HARMLESS_KEY = re.compile("public|primary|foreign|cache|sort|group", re.IGNORECASE)
_NAMES = ("name", "key")


def is_secret(key: str) -> bool:
    """Whether a key looks secret, however it is written: ``api_key``, ``apiKey``, ``API-KEY``."""
    key = normalize("NFKC", key)
    letters = re.sub(r"[\W_]+", "", key).casefold()
    if letters in _WHOLE or _PARTS.search(letters):
        return True
    return _SOME_KEY.search(key) is not None and not _HARMLESS_KEY.search(key)


def mask(value: Any) -> Any:
    """
    Return decoded JSON with what is under secret-looking keys replaced by ``MASK``.

    A key may also come first in a pair (HTTP headers, the serializer's ``~#dict``), be named
    beside its value (``{"name": …, "value": …}``) or be the class of a stored object.
    """
    if isinstance(value, dict):
        return _mask_object(value)
    if isinstance(value, list):
        if len(value) == 2 and _is_pair_key(value[0]):
            return [value[0], MASK]
        return [mask(item) for item in value]
    return value


def _mask_object(value: dict[str, Any]) -> dict[str, Any]:
    named = "value" in value and any(is_secret(_key_text(value.get(name))) for name in _NAMES)
    return {
        key: MASK if is_secret(key) or (named and key == "value") else mask(item)
        for key, item in value.items()
    }


def _is_pair_key(first: Any) -> bool:
    """Whether the first of two is a secret-looking key: a string, or the serializer's tag."""
    tagged = isinstance(first, dict) and len(first) == 1 and next(iter(first)).startswith("~#")
    return (tagged or isinstance(first, str)) and is_secret(_key_text(first))


def _key_text(key: Any) -> str:
    """The text in whatever serves as a key: a tagged string or a tuple of strings, too."""
    if isinstance(key, str):
        return key
    if isinstance(key, dict):
        return " ".join(map(_key_text, key.values()))
    return " ".join(map(_key_text, key)) if isinstance(key, list) else ""

"""
The serializer: writes values as JSON text, and reads them back equal and of the same types.

``None``, ``bool``, ``int``, finite ``float``, ``str``, ``list`` and ``dict`` with string keys are
written as JSON has them. Any other value becomes an object with a single key that starts with
``~#`` and names the type, such as ``{"~#date": "2024-02-29"}`` (the notation is Transit's). A dict
that has such a key itself is written as pairs, so that it is not mistaken for a tag.

A value must come back as the type it was, so a subclass is not treated as its base class: an
``OrderedDict``, a ``defaultdict``, a named tuple, an ``Enum`` member or a ``str`` of a subclass is
refused unless its class is registered with ``@serializable``.

What "equal" means in special cases:

- A ``datetime`` keeps its instant, offset and ``fold``. It keeps its ``ZoneInfo`` unless the
  machine that loads it does not know the zone, or has other rules for it. Any other ``tzinfo``
  becomes a fixed offset.
- A dataclass, a Struct and a named tuple keep their fields, and no other attributes.
- A list that is in two places comes back as two equal lists.
"""

from __future__ import annotations

import dataclasses
import reprlib
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from django.utils.functional import LazyObject, Promise
from django.utils.safestring import SafeString

from chatsessions.exceptions import NotLoadable, NotStorable

from .storable import (
    Codec,
    by_class,
    by_name,
    default_name,
    find_model,
    is_pydantic_model,
    is_serializable,
    model_codec,
)

#: How deep containers and objects may be nested: parsers of JSON are recursive.
MAX_DEPTH = 100
#: How many values one ``dumps`` may write. It is far beyond any sensible size. It stops values that
#: are small in memory and endless as text, such as lists that share their elements.
MAX_VALUES = 5_000_000

#: What every tag starts with, as a text and as JSON.
_MARK = "~#"
_MARK_BYTES = f'"{_MARK}'.encode()

_STR = frozenset({str})
_SCALARS = frozenset({type(None), bool, int, str})
_LEAVES = _SCALARS | {float}
#: How deep the quick check goes. The thorough way, for deeper values, detects cycles.
_QUICK_LEVELS = 16

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def dumps(value: object, *, path: str = "", models: bool = False) -> bytes:
    """
    Return ``value`` as UTF-8 JSON text.

    Takes what JSON has, and ``tuple``, ``set``, ``frozenset``, ``bytes``, ``bytearray``,
    ``datetime``, ``date``, ``time``, ``timedelta``, ``UUID``, ``Decimal``, Django's
    ``SafeString``, dicts with any storable keys, and instances of registered classes.

    ``path`` is the name of the value; the path in an error starts with it. With ``models``
    pydantic models need not be registered. Raises ``NotStorable`` for any other type, a value that
    contains itself, more than ``MAX_DEPTH`` levels or more than ``MAX_VALUES`` values.
    """
    # msgspec silently writes a tuple, an enum or a date as another type, so types come first.
    try:
        if type(value) in _SCALARS:
            return _encode(value)
        if _is_plain(value) and not _is_marked(data := _encode(value)):
            return data
    except (ValueError, OverflowError):  # a lone surrogate; an int beyond what msgspec writes
        pass
    return _dumps_tagged(value, path, models=models)


def loads(data: bytes | str) -> Any:
    """
    Return the value that :func:`dumps` wrote as ``data``.

    Raises ``NotLoadable`` for damaged data, and for an instance of a class that is not registered
    here under the name it was stored with.
    """
    try:
        value = _decode(data)
        return _unpack(value) if _is_marked(data) else value
    except NotLoadable:
        raise
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise NotLoadable(f"Stored data is not readable as JSON: {error}") from error


# The placeholder for a value that is only in the memory of its session's owner.
_IN_MEMORY = "memory"
_IN_MEMORY_START = f'{{"{_MARK}{_IN_MEMORY}":'.encode()


def in_memory(value: object) -> bytes:
    """Return the placeholder that is stored for a value that is kept in memory only."""
    return _IN_MEMORY_START + _encode(default_name(type(value))) + b"}"


def is_in_memory(raw: bytes) -> bool:
    """Return True if ``raw`` is a placeholder from :func:`in_memory`."""
    return raw.startswith(_IN_MEMORY_START)


# All values of a user_session are one JSON text, ``{key: value, …}``.


def split_state(text: bytes | str) -> dict[str, bytes]:
    """Return the bytes of each key's value. Raises ``NotLoadable`` if the text is damaged."""
    try:
        return {key: bytes(raw) for key, raw in _split(text or b"{}").items()}
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise NotLoadable(f"the stored user_session is damaged: {error}") from error


def join_state(encoded: Mapping[str, bytes]) -> bytes:
    """Return encoded values, by key, as one JSON text."""
    return b"{" + b",".join([key_text(key) + raw for key, raw in encoded.items()]) + b"}"


@lru_cache(maxsize=4096)  # an application has few, and its sessions share them
def key_text(key: str) -> bytes:
    """Return a key as it stands in JSON, with its colon."""
    return msgspec.json.encode(key) + b":"


def _is_marked(data: bytes | str) -> bool:
    # It is much faster to search for one character than for several, and few texts have this one.
    if isinstance(data, str):
        return "~" in data and f'"{_MARK}' in data
    return b"~" in data and _MARK_BYTES in data


# The quick check: is a value plain JSON?


def _is_plain(value: object) -> bool:
    if type(value) is list or type(value) is dict:
        return _count_plain(value, MAX_VALUES, _QUICK_LEVELS) >= 0
    return type(value) is float and isfinite(value)


def _count_plain(value: Any, left: int, levels: int) -> int:
    """
    Return how many of ``left`` values are left after ``value``, or -1 if it is not plain.

    msgspec writes and reads a plain value unchanged, except for ``~#`` keys and odd strings and
    ints, which are noticed later. This runs for every value that is written, so it is one flat
    function.
    """
    left -= len(value)
    if left < 0 or levels == 0:
        return -1
    if type(value) is dict:
        for key in value:
            if type(key) is not str:
                return -1
        value = value.values()
    for item in value:
        kind = type(item)
        if kind in _SCALARS:
            continue
        if kind is list or kind is dict:
            left = _count_plain(item, left, levels - 1)
            if left < 0:
                return -1
        elif kind is not float or not isfinite(item):
            return -1
    return left


# The thorough way: it writes tags for types that JSON lacks, and knows the path for errors.


def _dumps_tagged(value: object, path: str, *, models: bool) -> bytes:
    try:
        try:
            return _encode(_Packer(path, models=models).pack(value))
        except (ValueError, OverflowError):
            return _encode(_Packer(path, models=models, careful=True).pack(value))
    except RecursionError as error:
        raise NotStorable(path, type(value), "nested too deeply for the stack") from error


@dataclasses.dataclass(slots=True)
class _Step:
    """A container around the current value, and how a path shows its keys."""

    parent: object
    style: str
    key: object = None

    def __str__(self) -> str:
        key = reprlib.repr(self.key) if self.style is _ITEM else self.key
        return self.style.format(key)


_ITEM, _FIELD, _KEY, _ELEMENT, _CONTENT = "[{}]", ".{}", "{{key}}", "{{element}}", ".to_storable()"


class _Packer:
    """One walk through a value. With ``careful`` it checks each string and int as well."""

    __slots__ = ("careful", "left", "models", "path", "plain", "trail")

    def __init__(self, path: str, *, models: bool, careful: bool = False) -> None:
        self.path = path
        self.models = models
        self.careful = careful
        self.plain = _SCALARS - {int, str} if careful else _SCALARS
        self.left = MAX_VALUES
        self.trail: list[_Step] = []

    def pack(self, value: object) -> object:
        """Return the object for msgspec to write for ``value``."""
        kind = type(value)
        if kind in self.plain:
            return value
        if (kind is list or kind is dict) and (raw := self._plain_text(value)):
            return raw
        if writer := _WRITERS.get(kind):
            return writer(self, value)
        if codec := by_class.get(kind) or (model_codec(kind) if self.models else None):
            return self._pack_object(codec, value)
        reason, advice = _why_not(kind)
        raise self.error(kind, reason, advice=advice)

    def _plain_text(self, value: Any) -> msgspec.Raw | None:
        levels = min(_QUICK_LEVELS, MAX_DEPTH - len(self.trail))
        left = -1 if self.careful else _count_plain(value, self.left, levels)
        if left < 0 or _is_marked(text := _encode(value)):
            return None
        self.left = left
        return msgspec.Raw(text)

    def each(
        self, parent: object, style: str, keys: Iterable[object], values: Collection[object]
    ) -> list[object]:
        """Pack the ``values`` of ``parent``, which are at ``keys``."""
        self.left -= len(values)
        if self.left < 0:
            raise self.error(type(parent), f"it makes more than {MAX_VALUES:,} values in all")
        if len(self.trail) >= MAX_DEPTH:
            raise self._depth_error(parent)
        if self.plain.issuperset(map(type, values)):
            return list(values)
        packed = []
        step = _Step(parent, style)
        self.trail.append(step)
        for key, value in zip(keys, values, strict=True):
            if type(value) in self.plain:
                packed.append(value)
            else:
                step.key = key
                packed.append(self.pack(value))
        self.trail.pop()
        return packed

    def are_plain_keys(self, keys: Collection[Any]) -> bool:
        """Return True if ``keys`` can be those of a JSON object that is not mistaken for a tag."""
        if not _STR.issuperset(map(type, keys)):
            return False
        text = "".join(keys)
        return _MARK not in text and not (self.careful and not _is_encodable(text))

    def error(self, kind: type, reason: str, *, advice: str = "") -> NotStorable:
        """Return an error with the path of the current value."""
        path = self.path + "".join(map(str, self.trail))
        if advice:
            return NotStorable(path, kind, reason, advice=advice)
        return NotStorable(path, kind, reason)

    def _depth_error(self, parent: object) -> NotStorable:
        seen: set[int] = set()
        for depth, step in enumerate(self.trail):
            if id(step.parent) in seen:
                del self.trail[depth:]
                return self.error(type(step.parent), "it contains itself")
            seen.add(id(step.parent))
        return self.error(type(parent), f"it lies {MAX_DEPTH} levels deep, and that is the limit")

    def _pack_object(self, codec: Codec, value: object) -> object:
        try:
            content = codec.take(value)
        except Exception as error:  # to_storable() can raise anything
            raise self.error(codec.cls, f"{type(error).__name__}: {error}") from error
        if codec.by_field:
            packed = self.each(value, _FIELD, content, content.values())
            return {"~#obj": [codec.name, dict(zip(content, packed, strict=True))]}
        return {"~#obj": [codec.name, *self.each(value, _CONTENT, [None], [content])]}


# Copies of the containers, as another thread may change them meanwhile.


def _write_list(packer: _Packer, value: Any) -> list[object]:
    items = list(value)
    return packer.each(value, _ITEM, range(len(items)), items)


def _write_dict(packer: _Packer, value: Any) -> object:
    items = dict(value)
    values = packer.each(value, _ITEM, items, items.values())
    if packer.are_plain_keys(items):
        return dict(zip(items, values, strict=True))
    keys = packer.each(value, _KEY, items, items)
    return {"~#dict": list(zip(keys, values, strict=True))}


def _write_set(packer: _Packer, value: Any) -> list[object]:
    items = list(value)
    # Sorted by their text, so that equal sets are equal texts in every process.
    return sorted(packer.each(value, _ELEMENT, items, items), key=_encode)


def _write_float(_packer: _Packer, value: Any) -> object:
    return value if isfinite(value) else {"~#float": repr(value)}


def _write_int(_packer: _Packer, value: Any) -> object:
    # In hexadecimal: Python reads and writes it at any length.
    return value if -(2**63) <= value < 2**64 else {"~#int": hex(value)}


def _write_str(_packer: _Packer, value: Any) -> object:
    if _is_encodable(value):
        return value
    return {"~#str": _to_base64(value.encode("utf-8", "surrogatepass"))}


def _write_moment(packer: _Packer, value: Any) -> object:
    zone, offset = value.tzinfo, value.utcoffset()
    key = zone.key if type(zone) is ZoneInfo else None
    # fromisoformat() reads an offset of less than a second as zero.
    lost = offset is None or timedelta() < abs(offset) < timedelta(seconds=1)
    if lost and zone is not None and key is None:
        raise packer.error(type(value), "its tzinfo gives no offset, or not a second")
    return [value.isoformat(), value.fold, key] if key or value.fold else value.isoformat()


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _to_base64(data: bytes | bytearray) -> str:
    return b64encode(data).decode()


_REGISTER = "Register its class with @chatsessions.serializable"
_ELSE = (
    "store plain data instead, or keep a live object in user_session.local, which is never stored."
)


def _why_not(kind: type) -> tuple[str, str]:
    """Return why instances of ``kind`` are refused (or ""), and the advice."""
    if issubclass(kind, Promise):
        return "a lazy text: call str() on it first", "Store the text."
    if issubclass(kind, LazyObject):
        reason = "a lazy stand-in, such as request.user: store what it stands for, by its pk"
        return reason, "Fetch the object when it is needed."
    if hasattr(kind, "_meta") and hasattr(kind, "_default_manager"):
        reason = "a model instance: store its pk and fetch it when it is needed"
        return reason, "Values are not kept up with the database."
    if default_name(kind) in by_name:
        reason = "a different class is registered under its name now; was the module reloaded?"
        return reason, "Make the object anew, or restart the server."
    if is_pydantic_model(kind):
        return "", f"{_REGISTER}, or store what its .model_dump() gives."
    bases = (*_LEAVES, list, dict, *(entry[0] for entry in _TAGGED))
    base = next((base for base in bases if issubclass(kind, base)), None)
    reason = f"it would come back as a plain {base.__name__}" if base is not None else ""
    if is_serializable(kind):
        return reason, f"{_REGISTER}, or {_ELSE}"
    plain = f"store {base.__name__}(value) instead" if base is not None else _ELSE
    if kind.__module__.partition(".")[0] in sys.stdlib_module_names:
        return reason, f"{plain[0].upper()}{plain[1:]}"
    return reason, f"{_REGISTER} (it needs to_storable() and from_storable()), or {plain}"


# Reading


def _unpack(value: Any) -> Any:
    if type(value) is list:
        return _items(value)
    if type(value) is not dict:
        return value
    if len(value) == 1:
        [(key, content)] = value.items()
        if key.startswith(_MARK):
            return _untag(key, content)
    return {k: v if type(v) in _LEAVES else _unpack(v) for k, v in value.items()}


def _items(content: Any) -> list[Any]:
    if type(content) is not list:
        raise TypeError("an array is expected")
    return [v if type(v) in _LEAVES else _unpack(v) for v in content]


def _untag(tag: str, content: Any) -> Any:
    if (reader := _READERS.get(tag)) is None:
        raise NotLoadable(f"Stored data has the tag {reprlib.repr(tag)}, which is not known here.")
    try:
        return reader(content)
    except NotLoadable:
        raise
    except Exception as error:  # damaged content can raise anything
        raise NotLoadable(
            f"Stored data has a damaged {tag!r} ({type(error).__name__}: {error})."
        ) from error


def _read_object(content: Any) -> Any:
    name, packed = content
    codec = by_name.get(name)
    if codec is None and (model := find_model(name)) is not None:
        codec = model_codec(model)
    if codec is None:
        raise NotLoadable(
            f"Stored data has an instance of {name!r}, and no class is registered under that "
            "name here. Import the module that registers it; if the class was moved or renamed, "
            f"register it with @serializable(name={name!r}), too."
        )
    content = _unpack(packed)
    if codec.by_field and type(content) is not dict:
        raise TypeError("an object with the fields is expected")
    try:
        value = codec.build(content)
    except Exception as error:  # from_storable() can raise anything
        raise NotLoadable(
            f"A stored {name!r} could not be made again ({type(error).__name__}: {error})."
        ) from error
    if type(value) is not codec.cls:
        raise NotLoadable(f"A stored {name!r} came back as a {default_name(type(value))}.")
    return value


def _read_memory(content: Any) -> Any:
    raise NotLoadable(f"A {content} was kept in a worker's memory only, and is gone.")


def _read_dict(content: Any) -> dict[Any, Any]:
    return {_unpack(key): _unpack(value) for key, value in content}


def _read_moment(kind: type[datetime] | type[time], content: Any) -> datetime | time:
    if type(content) is str:
        return kind.fromisoformat(content)
    text, fold, key = content
    moment = kind.fromisoformat(text).replace(fold=fold)
    try:
        zoned = moment.replace(tzinfo=ZoneInfo(key)) if key else moment
    except (LookupError, ValueError, OSError):  # not in the time zone database of this machine
        return moment
    return zoned if zoned.utcoffset() == moment.utcoffset() else moment


def _from_base64(content: Any) -> bytes:
    return b64decode(content, validate=True)


def _text(content: Any) -> str:
    if type(content) is not str:
        raise TypeError("a string is expected")
    return content


_Writer = Callable[["_Packer", Any], object]
_Reader = Callable[[Any], Any]

#: The types that always get a tag: type, tag, and the functions that write and read its content.
_TAGGED: tuple[tuple[type, str, _Writer, _Reader], ...] = (
    (tuple, "tuple", _write_list, lambda c: tuple(_items(c))),
    (set, "set", _write_set, lambda c: set(_items(c))),
    (frozenset, "frozenset", _write_set, lambda c: frozenset(_items(c))),
    (bytes, "bytes", lambda _, v: _to_base64(v), _from_base64),
    (bytearray, "bytearray", lambda _, v: _to_base64(v), lambda c: bytearray(_from_base64(c))),
    (datetime, "datetime", _write_moment, lambda c: _read_moment(datetime, c)),
    (date, "date", lambda _, v: v.isoformat(), date.fromisoformat),
    (time, "time", _write_moment, lambda c: _read_moment(time, c)),
    (
        timedelta,
        "timedelta",
        lambda _, v: [v.days, v.seconds, v.microseconds],
        lambda c: timedelta(*_items(c)),
    ),
    (UUID, "uuid", lambda _, v: str(v), UUID),
    (Decimal, "decimal", lambda _, v: str(v), lambda c: Decimal(_text(c))),
    # str() of a SafeString is a SafeString; str.__str__() is the plain string in it.
    (
        SafeString,
        "safe",
        lambda packer, v: packer.pack(str.__str__(v)),
        lambda c: SafeString(_text(_unpack(c))),
    ),
)


def _tagging(tag: str, write: _Writer) -> _Writer:
    return lambda packer, value: {tag: write(packer, value)}


_WRITERS: dict[type, _Writer] = {
    str: _write_str,
    int: _write_int,
    float: _write_float,
    list: _write_list,
    dict: _write_dict,
    **{kind: _tagging(_MARK + tag, write) for kind, tag, write, _ in _TAGGED},
}
_READERS: dict[str, _Reader] = {
    "~#str": lambda c: _from_base64(c).decode("utf-8", "surrogatepass"),
    "~#int": lambda c: int(c, 16),
    "~#float": lambda c: float(_text(c)),
    "~#dict": _read_dict,
    "~#obj": _read_object,
    _MARK + _IN_MEMORY: _read_memory,
    **{_MARK + tag: read for _, tag, _, read in _TAGGED},
}

"""
``UserSession``: the values that an application keeps in a session, as a synchronous dict.

While a worker owns a session, its values are in memory, each with its encoding. A commit encodes
again the values that were read or set since the last turn, to find those that changed inside, and
joins the encodings of all keys. A value that cannot be encoded falls back to what is stored.

A handler in a thread may change values while the event loop commits them. So all access to the
dictionaries holds ``_lock``. Encoding, decoding and callbacks do not hold it: they may take long,
and run the application's code.
"""

from __future__ import annotations

import threading
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from copy import deepcopy
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Generic, TypeVar
from uuid import UUID

from chatsessions.exceptions import NotStorable, ReservedKey, StorageError, TooLarge
from chatsessions.storage.serializer import (
    dumps,
    in_memory,
    is_in_memory,
    join_state,
    key_text,
    loads,
)

from .session import Session

T = TypeVar("T")

#: Keys that are read from the session. They are ``in`` a ``user_session``, but cannot be set, and
#: are left out by iteration, ``len()``, ``keys()``, ``values()`` and ``items()``.
RESERVED: Mapping[str, Callable[[Session], Any]] = {
    "id": lambda session: str(session.id),
    "env": lambda session: session.env,
    "user": lambda session: session.user,
    "chat_settings": lambda session: session.chat_settings,
    "chat_profile": lambda session: session.profile or None,
    "client_type": lambda session: session.client_type,
    "thread_id": lambda session: str(session.thread_id),
    "language": lambda session: session.language,
}

_NONE: frozenset[str] = frozenset()

#: A value of one of these types cannot change inside, so it is encoded only when it is set.
_IMMUTABLE = frozenset(
    {str, int, float, bool, type(None), bytes, datetime, date, time, timedelta, UUID, Decimal}
)


class UserSession(MutableMapping[str, Any]):
    """
    The values that an application keeps in a session.

    ``before_change`` is called before every change and may raise to refuse it; ``after_change`` is
    called after the change. ``local`` is a plain dict for live objects of this worker, such
    as clients and chains; it is never stored.

    With ``keep`` a value that cannot be stored is kept in memory, and ``keep`` is called with its
    key and the error. Its key is stored, so that a later owner knows what is :attr:`lost`.
    """

    __slots__ = (
        "_after_change",
        "_before_change",
        "_encoded",
        "_keep",
        "_lock",
        "_max_bytes",
        "_session",
        "_size",
        "_told",
        "_values",
        "changed",
        "local",
        "touched",
    )

    def __init__(
        self,
        session: Session,
        encoded: dict[str, bytes],
        *,
        max_bytes: int,
        before_change: Callable[[], None],
        after_change: Callable[[], None],
        keep: Callable[[str, StorageError], None] | None = None,
    ) -> None:
        self._session = session
        self._keep = keep
        #: Reentrant: freeing an object may run a finalizer that uses the session.
        self._lock = threading.RLock()
        self._encoded = encoded
        self._max_bytes = max_bytes
        self._before_change = before_change
        self._after_change = after_change
        self._values: dict[str, Any] = {}
        #: The keys whose values may have been changed inside.
        self.touched: set[str] = set()
        #: Those among them whose use is known to ``after_change``.
        self._told: set[str] = set()
        #: Whether a key was set or deleted since :meth:`take_state` was called.
        self.changed = False
        self._size = 1 + sum(map(_item_size, encoded.items()))
        self.local: dict[str, Any] = {}

    # The mapping

    def __getitem__(self, key: str) -> Any:
        if key in RESERVED:
            return RESERVED[key](self._session)
        value = self._load(key)
        if type(value) not in _IMMUTABLE and key not in self._told:
            self._before_change()
            with self._lock:
                if key in self._values:
                    self._touch(key)
            self._after_change()
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self._before_change()
        self._check_key(key)
        raw = self._encode(key, value)
        with self._lock:
            self._put_value(key, raw, value)
            self._values[key] = value
            if type(value) not in _IMMUTABLE:
                self._touch(key)
        self._after_change()

    def __delitem__(self, key: str) -> None:
        self._before_change()
        self._check_key(key)
        with self._lock:
            self._drop(key)
        self._after_change()

    def __iter__(self) -> Iterator[str]:
        with self._lock:  # a copy, as a thread may set and delete keys meanwhile
            lost = self.lost
            return iter([key for key in self._encoded if key not in lost])

    def __len__(self) -> int:
        return len(self._encoded) - len(self.lost)

    def __contains__(self, key: object) -> bool:
        return key in RESERVED or (key in self._encoded and key not in self.lost)

    @property
    def lost(self) -> frozenset[str]:
        """The keys, not set again, whose values an earlier owner kept in memory only."""
        if self._keep is None:
            return _NONE
        with self._lock:
            encoded, values = self._encoded, self._values
            return frozenset(
                k for k, raw in encoded.items() if k not in values and is_in_memory(raw)
            )

    def keys(self) -> KeysView[str]:
        """Return the application's own keys, without the reserved ones."""
        return _Keys(self)

    def values(self) -> ValuesView[Any]:
        """Return the values of the application's own keys."""
        return _Values(self)

    def items(self) -> ItemsView[str, Any]:
        """Return the application's own keys and values, without the reserved ones."""
        return _Items(self)

    def __repr__(self) -> str:
        return f"<UserSession of {self._session.id}: {', '.join(self.encoded()) or 'empty'}>"

    # Chainlit's names

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of ``key``, or ``default``."""
        try:
            return self[key]
        except KeyError:
            return default

    def set(self, key: str, value: Any) -> None:
        """
        Keep ``value`` under ``key``.

        Raises ``NotStorable`` for a value that cannot be stored, ``TooLarge`` beyond
        ``USER_SESSION_MAX_BYTES``, and ``ReservedKey``. The old value stays then.
        """
        self[key] = value

    def create_accessor(
        self, key: str, default: T, *, apply_fn: Callable[[T], T] | None = None
    ) -> SessionAccessor[T]:
        """Return an object with ``get``, ``set``, ``reset`` and ``apply`` for one key."""
        return SessionAccessor(self, key, default, apply_fn)

    # For the owner

    def for_reading(self) -> UserSession:
        """
        Return the values for code that can change nothing any more.

        It can read all of them: their use counts as known, so that no value has to be watched.
        """
        found = UserSession(
            self._session,
            self.encoded(),
            max_bytes=self._max_bytes,
            before_change=self._before_change,
            after_change=self._after_change,
            keep=self._keep,
        )
        with self._lock:
            found._values = dict(self._values)
        found._told.update(found._encoded)
        found.local = self.local
        return found

    def check(self) -> None:
        """Raise the error if a changed value cannot be stored. The value stays as it is."""
        error = self.look(drop=False)
        if error is not None:
            raise error

    def take_state(self) -> bytes | None:
        """Return all values as one JSON text, or None if none has changed since the last call."""
        with self._lock:
            if not self.changed:
                return None
            self.changed = False
            encoded = dict(self._encoded)
        return join_state(encoded)

    def as_json(self) -> bytes:
        """Return all values as one JSON text."""
        return join_state(self.encoded())

    def look(self, *, drop: bool = True) -> StorageError | None:
        """
        Encode again the values that may have changed inside.

        Returns the first error if a value can no longer be stored. With ``drop`` such a value
        falls back to what is stored; otherwise the next call encodes it again.
        """
        if not self.touched:
            return None
        with self._lock:
            touched = {key: self._values[key] for key in self.touched}
        error: StorageError | None = None
        refusing: set[str] = set()
        raw: dict[str, bytes] = {}
        for key, value in touched.items():
            try:
                raw[key] = self._encode(key, value)
            except (RuntimeError, KeyError):
                continue  # a thread is changing it: it is encoded again at the end of the turn
            except NotStorable as refused:
                refusing.add(key)
                error = error or refused
        with self._lock:
            # Values that were deleted or set meanwhile are not the ones that were encoded.
            gone = {key for key in touched if not self._holds(key, touched[key])}
            # First those that shrink: they make room for those that grow.
            for key in sorted(raw.keys() - gone, key=lambda key: self._growth(key, raw[key])):
                try:
                    self._put_value(key, raw[key], touched[key])
                except TooLarge as refused:
                    refusing.add(key)
                    error = error or refused
            if drop:
                for key in refusing - gone:
                    self._forget(key)
        return error

    def put_encoded(self, values: Mapping[str, bytes], *, drops: Iterable[str] = ()) -> None:
        """
        Set values that are encoded already, and delete the keys ``drops``.

        Raises ``TooLarge``. Nothing is changed then.
        """
        self._before_change()
        with self._lock:
            dropped = {key for key in drops if key in self._encoded}
            gone = [(key, self._encoded[key]) for key in dropped | (values.keys() & self._encoded)]
            size = self._size + sum(map(_item_size, values.items())) - sum(map(_item_size, gone))
            self._check_size(size)
            for key in dropped:
                self._drop(key)
            for key in values:
                self._forget(key)
            self._encoded.update(values)
            self._size = size
            self.changed = self.changed or bool(values)
        if dropped or values:
            self._after_change()

    def changes_since(self, before: Mapping[str, bytes]) -> tuple[dict[str, bytes], list[str]]:
        """Return the values that were set, and the keys that were deleted, since ``before``."""
        encoded = self.encoded()
        put = {key: raw for key, raw in encoded.items() if before.get(key) != raw}
        return put, [key for key in before if key not in encoded]

    def settle(self) -> None:
        """Stop looking for changes inside the values used so far: the turn is over."""
        with self._lock:
            self.touched.clear()
            self._told.clear()

    def tell_again(self) -> None:
        """Call ``after_change`` again when a value is used that may be changed inside."""
        with self._lock:
            self._told.clear()

    def encoded(self) -> dict[str, bytes]:
        """Return each key's encoded value."""
        with self._lock:
            return dict(self._encoded)

    def _check_key(self, key: object) -> None:
        if not isinstance(key, str):
            raise TypeError(f"user_session keys are strings, not {type(key).__name__}: {key!r}")
        if key in RESERVED:
            raise ReservedKey(key)
        try:
            key.encode()
        except UnicodeEncodeError as error:
            raise NotStorable(f"the key {key!r}", str, "a lone surrogate") from error

    def _load(self, key: str) -> Any:
        """Return the value of ``key``, decoded at its first use."""
        while True:
            with self._lock:
                if key in self._values:
                    return self._values[key]
                raw = self._encoded[key]
            if is_in_memory(raw):
                raise KeyError(key)
            value = loads(raw)
            with self._lock:
                if self._encoded.get(key) is raw:  # else a thread has changed it meanwhile
                    return self._values.setdefault(key, value)

    def _encode(self, key: str, value: Any) -> bytes:
        """Return what is stored of a value. Raises ``NotStorable``, unless ``keep`` is set."""
        if self._keep is None:
            return dumps(value, path=key)
        try:
            return dumps(value, path=key, models=True)
        except NotStorable as error:
            self._keep(key, error)
            return in_memory(value)

    # With the lock held

    def _put_value(self, key: str, raw: bytes, value: Any) -> None:
        """Store a value. Raises ``TooLarge`` if it takes too much, unless ``keep`` is set."""
        try:
            self._put(key, raw)
        except TooLarge as error:
            if self._keep is None:
                raise
            self._put(key, in_memory(value))
            self._keep(key, error)

    def _holds(self, key: str, value: Any) -> bool:
        """Return True if ``value`` itself is the value of ``key``."""
        return key in self._values and self._values[key] is value

    def _growth(self, key: str, raw: bytes) -> int:
        return len(raw) - len(self._encoded.get(key, b""))

    def _put(self, key: str, raw: bytes) -> None:
        old = self._encoded.get(key)
        if raw == old:
            return
        size = self._size + (_item_size((key, raw)) if old is None else len(raw) - len(old))
        if size > self._max_bytes:
            self._check_size(size)
        self._size = size
        self._encoded[key] = raw
        self.changed = True

    def _drop(self, key: str) -> None:
        self._size -= _item_size((key, self._encoded.pop(key)))
        self._forget(key)
        self.changed = True

    def _touch(self, key: str) -> None:
        self.touched.add(key)
        self._told.add(key)

    def _forget(self, key: str) -> None:
        """Forget the value of ``key``; the stored one is decoded at its next use."""
        self._values.pop(key, None)
        self.touched.discard(key)
        self._told.discard(key)

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes and size > self._size:
            raise TooLarge("user_session", size, self._max_bytes, "USER_SESSION_MAX_BYTES")


class _Keys(KeysView[str]):
    def __contains__(self, key: object) -> bool:
        return key not in RESERVED and super().__contains__(key)


def _items(target: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the keys and values of ``target``, without keys that are deleted meanwhile."""
    for key in target:
        try:
            value = target[key]
        except KeyError:
            continue
        yield key, value


class _Values(ValuesView[Any]):
    _mapping: UserSession

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in _items(self._mapping))

    def __contains__(self, value: object) -> bool:
        return any(found is value or found == value for found in self)


class _Items(ItemsView[str, Any]):
    _mapping: UserSession

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return _items(self._mapping)

    def __contains__(self, item: object) -> bool:
        return (
            isinstance(item, tuple)
            and len(item) == 2
            and item[0] not in RESERVED
            and super().__contains__(item)
        )


class SessionAccessor(Generic[T]):
    """One key of a ``user_session``, with a default and, optionally, a function for new values."""

    __slots__ = ("_apply_fn", "_default", "_key", "_target")

    def __init__(
        self,
        target: MutableMapping[str, Any],
        key: str,
        default: T,
        apply_fn: Callable[[T], T] | None = None,
    ) -> None:
        self._target = target
        self._key = key
        self._default = default
        self._apply_fn = apply_fn

    def get(self) -> T:
        """Return the value, or a copy of the default."""
        try:
            value: T = self._target[self._key]
        except KeyError:
            # A copy: all sessions share the accessor, and the default may be changed inside.
            return deepcopy(self._default)
        return value

    def set(self, value: T) -> None:
        """Set the value."""
        self._target[self._key] = value

    def reset(self) -> None:
        """Set the value to the default."""
        self.set(deepcopy(self._default))

    def apply(self) -> T:
        """Set the value to ``apply_fn(value)``, and return the new value."""
        value = self.get()
        if self._apply_fn is not None:
            value = self._apply_fn(value)
        self.set(value)
        return value


def _item_size(item: tuple[str, bytes]) -> int:
    """Return how many bytes a key and its value take in JSON, with a comma."""
    return len(key_text(item[0])) + len(item[1]) + 1

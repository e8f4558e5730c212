"""
The settings: one object with a typed attribute for each key of ``settings.CHATSESSIONS``.

A setting is read at its first use, and again after ``override_settings``. Reading an invalid one
raises ``ImproperlyConfigured``; system checks find it earlier.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Generic, Literal, TypeVar, overload

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils import timezone

T = TypeVar("T")

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
CENTURY = 36_525 * DAY  # datetime can still count it
KIB = 1024
MIB = 1024 * KIB

_TYPE_PATTERN = re.compile(r"\*/\*\Z|[a-z0-9][a-z0-9!#$&^_.+-]*/(\*|[a-z0-9][a-z0-9!#$&^_.+-]*)\Z")


def _is_type_pattern(value: object) -> bool:
    """Return True for a pattern of file types, such as ``image/*``, ``text/csv`` or ``*/*``."""
    return isinstance(value, str) and _TYPE_PATTERN.match(value) is not None


_ORIGIN = re.compile(r"https?://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:\d+)?\Z")


def _is_origin(value: object) -> bool:
    """Return True for an ``Origin`` as a browser writes it: ``https://shop.example.com``."""
    return isinstance(value, str) and _ORIGIN.match(value) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An unknown or invalid setting: what is wrong with it, and what to write instead."""

    name: str
    message: str
    hint: str


class Setting(Generic[T]):
    """One key of ``CHATSESSIONS``: its default, the allowed values, and a sentence for the docs."""

    name: str

    def __init__(
        self, default: T, *, allowed: str, accepts: Callable[[Any], bool], doc: str
    ) -> None:
        self.default = default
        self.allowed = allowed
        self.accepts = accepts
        self.doc = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Setting[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Setting[T] | T:
        if instance is None:
            return self
        value = _given().get(self.name, self.default)
        if not self.accepts(value):
            problem = self.problem(value)
            raise ImproperlyConfigured(f"{problem.message} {problem.hint}")
        # Cached where Python looks before it calls this method: some settings are read several
        # times for every message.
        vars(instance)[self.name] = value
        return value  # type: ignore[no-any-return]  # accepts() is the type check

    def problem(self, value: object) -> Problem:
        return Problem(
            name=self.name,
            message=f"CHATSESSIONS['{self.name}'] is {value!r}, which is not {self.allowed}.",
            hint=f"Write {self.allowed}; the default is {self.default!r}.",
        )


def _given() -> Mapping[str, Any]:
    given = getattr(django_settings, "CHATSESSIONS", {})
    if not isinstance(given, Mapping):
        raise ImproperlyConfigured(
            f"CHATSESSIONS is {given!r}, which is not a dict. Write CHATSESSIONS = {{...}}."
        )
    return given


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def seconds(default: float, *, doc: str) -> Setting[float]:
    return Setting(
        default,
        allowed="a number of seconds above 0 and below a century",
        accepts=lambda value: _is_number(value) and 0 < value < CENTURY,
        doc=doc,
    )


def rate(default: float, *, doc: str) -> Setting[float]:
    return Setting(
        default,
        allowed="a number above 0",
        accepts=lambda value: _is_number(value) and 0 < value < float("inf"),
        doc=doc,
    )


def count(default: int, *, minimum: int = 1, doc: str) -> Setting[int]:
    return Setting(
        default,
        allowed=f"a whole number of at least {minimum:,}",
        accepts=lambda value: type(value) is int and value >= minimum,
        doc=doc,
    )


def text(default: str, *, doc: str) -> Setting[str]:
    return Setting(
        default,
        allowed="a non-empty string",
        accepts=lambda value: isinstance(value, str) and bool(value),
        doc=doc,
    )


def flag(default: bool, *, doc: str) -> Setting[bool]:
    return Setting(
        default, allowed="True or False", accepts=lambda value: isinstance(value, bool), doc=doc
    )


class Settings:
    """Reads ``settings.CHATSESSIONS``; ``conf.settings`` is the one instance."""

    # Storage
    CACHE = text("default", doc="Alias in CACHES of the cache that holds user_session.")
    DATABASE = text("default", doc="Alias in DATABASES that the journal writes to.")
    USER_SESSION_STORE: Setting[Literal["cached_db", "cache"]] = Setting(
        "cached_db",
        allowed="'cached_db' or 'cache'",
        accepts=lambda value: value in ("cached_db", "cache"),
        doc="cached_db: the cache, written through to the row in the same commit, and read before "
        "it. cache: the cache alone.",
    )
    USER_SESSION_MAX_BYTES = count(
        MIB, doc="The most bytes that one user_session may take when encoded."
    )
    CACHE_TIMEOUT = seconds(
        2 * HOUR,
        doc="How long a user_session stays in the cache after it was last written; at least "
        "SESSION_AGE. A live session's is kept for as long as it lives.",
    )
    MAX_LOG_ENTRIES = count(
        10_000, minimum=10, doc="The most entries that a session's log keeps; older ones go."
    )
    MAX_LOG_BYTES = count(
        32 * MIB, minimum=MIB, doc="The most bytes that a session's log keeps; older entries go."
    )
    STORAGE = text("default", doc="Alias in STORAGES of the storage that holds sessions' files.")
    STORE_TIMEOUT = seconds(
        10, doc="How long a failing commit is retried before StoreUnavailable is raised."
    )
    MAX_UNCOMMITTED = count(
        64, doc="A session with more entries than this in the journal makes emit() wait."
    )
    MAX_JOURNAL_ENTRIES = count(
        10_000, doc="With more entries than this in the whole journal every emit() waits."
    )

    # Conversations
    CHAT_CONTEXT_MESSAGES = count(
        100, doc="The most messages in chat_context and in the transcript that a thread is given."
    )
    CHAT_CONTEXT_BYTES = count(
        256 * KIB, minimum=1024, doc="The most bytes of them; the newest message is always there."
    )

    MESSAGE_FORMAT: Setting[Literal["text", "markdown"]] = Setting(
        "text",
        allowed="'text' or 'markdown'",
        accepts=lambda value: value in ("text", "markdown"),
        doc="The format of messages and questions for which neither code nor chat names one.",
    )

    # Files
    MAX_FILE_BYTES = count(100 * MIB, doc="The most bytes that one file of a session may have.")
    MAX_FILES_PER_SESSION = count(100, doc="The most files that one session may have.")
    MAX_FILES_BYTES_PER_SESSION = count(
        1024 * MIB, doc="The most bytes that all files of one session may have together."
    )
    FILE_TYPES: Setting[Sequence[str]] = Setting(
        ("*/*",),
        allowed="a list of types such as 'image/*', 'text/csv' or '*/*'",
        accepts=lambda value: (
            isinstance(value, list | tuple) and bool(value) and all(map(_is_type_pattern, value))
        ),
        doc="The types of files that clients may upload.",
    )

    # Lifetimes
    SESSION_AGE = seconds(
        HOUR, doc="A session whose client has been away for this long ends as expired."
    )
    UNUSED_SESSION_AGE = seconds(
        10 * MINUTE,
        doc="The same, for a session whose client has never done anything; as long after its end "
        "its rows may go.",
    )
    KEEP = seconds(14 * DAY, doc="How long a session's rows are kept after its end.")
    REAP_INTERVAL = seconds(60, doc="How often a running server looks for expired sessions.")
    WORKER_HEARTBEAT = seconds(5, doc="How often a worker says in its row that it lives.")
    WORKER_STALE = seconds(15, doc="A worker silent for this long counts as dead.")

    # Turns
    STOP_TIMEOUT = seconds(
        5, doc="How long a stopped handler may take to clean up before it is abandoned."
    )
    LIFESPAN_TIMEOUT = seconds(
        5,
        doc="How long the setup of session_lifespan, its teardown, and on_session_unload may each "
        "take before they are cancelled.",
    )
    SHUTDOWN_TIMEOUT = seconds(
        8, doc="On SIGTERM, how long running turns may take to finish before they are interrupted."
    )
    HANDLE_SIGTERM = flag(
        True, doc="Close connections with 4000 and commit on SIGTERM before the server stops."
    )
    SYNC_HANDLER_THREADS = count(
        8, doc="The most threads that run handlers written as plain def at one time."
    )

    # The wire
    ALLOWED_ORIGINS: Setting[Sequence[str]] = Setting(
        (),
        allowed="a list of origins such as 'https://shop.example.com', in small letters",
        accepts=lambda value: isinstance(value, list | tuple) and all(map(_is_origin, value)),
        doc="Origins of other sites whose pages may have chats of this one.",
    )
    HELLO_TIMEOUT = seconds(10, doc="A connection that has not said hello by then is closed.")
    HEARTBEAT = seconds(
        25, doc="A client pings after this long a silence; 2.5 of it without a frame close."
    )
    MAX_FRAME_BYTES = count(
        256 * KIB, minimum=1024, doc="The most bytes in one frame from a client (1009)."
    )
    TOKEN_INTERVAL = seconds(
        0.016,
        doc="Tokens of a stream that follow each other faster than this may travel together; by "
        "default as fast as a screen shows pictures.",
    )
    MAX_EVENT_BYTES = count(
        1_000_000,
        minimum=1024,
        doc="The most bytes in the data of one emitted event: daphne sends no frame over 1 MiB.",
    )
    MAX_BAD_FRAMES = count(10, doc="After this many bad frames a connection is closed (4500).")
    MAX_ENV_KEYS = count(50, doc="The most keys that the env of one hello may have.")
    MAX_ENV_BYTES = count(
        16 * KIB, doc="The most bytes that the keys and values of one env may have together."
    )
    REVALIDATE_SECONDS = seconds(
        60, doc="How often the logins of open connections are looked at again."
    )
    EVENTS_PER_SECOND = rate(
        20, doc="The rate at which one session's events are accepted over time."
    )
    EVENT_BURST = count(100, doc="How many events one session may send at once.")
    MAX_RATE_LIMITED = count(
        10, doc="Retries made too early, one after another, before a connection is closed (4013)."
    )
    MAX_PENDING_EVENTS = count(
        100, doc="Accepted events that wait for their turn; beyond it a client gets busy."
    )
    MAX_PENDING_BYTES = count(
        4 * MIB, minimum=MIB, doc="Bytes of the events that wait; beyond it a client gets busy."
    )
    MAX_ACTIONS = count(
        200,
        doc="The most actions that one session offers at a time. If there are more, the oldest are "
        "withdrawn.",
    )
    MAX_UNACKED_EVENTS = count(
        1000,
        minimum=64,
        doc="Entries sent to a client and not acknowledged, before it is closed as too slow.",
    )
    MAX_UNACKED_BYTES = count(
        4 * MIB,
        minimum=64 * KIB,
        doc="Bytes sent to a client and not acknowledged, before it is closed as too slow.",
    )
    NEW_SESSIONS_PER_MINUTE = count(
        300, doc="New sessions of anonymous clients at one address, at once and over a minute."
    )
    READS_PER_SECOND = rate(
        20, doc="How many hellos and GETs one session at one address is answered over time."
    )
    READ_BURST = count(200, doc="How many of them at once.")
    REPLAY_BYTES_PER_SECOND = count(
        2 * MIB,
        minimum=KIB,
        doc="How fast stored entries are sent again, to one session at one address.",
    )
    REPLAY_BURST_BYTES = count(
        32 * MIB, minimum=KIB, doc="How many bytes of them as fast as they are read."
    )
    MAX_STREAMS = count(
        20, doc="Event streams (HTTP) that may be open for one session at one address."
    )
    MAX_STREAM_BYTES = count(
        2 * MIB,
        minimum=KIB,
        doc="The most bytes that one event stream sends; its client resumes with another.",
    )
    ADDRESS_FACTOR = count(
        10,
        doc="All sessions of one address together may do this many times as much as one session.",
    )
    SEARCHES_PER_MINUTE = count(
        120, doc="Searches of threads by one user, at once and over a minute."
    )
    MAX_SEARCH_BYTES = count(
        32 * MIB, minimum=MIB, doc="Bytes of logs that a search looks into, the latest first."
    )
    MAX_SESSIONS_PER_USER = count(
        50, doc="Connected sessions one logged-in user may have; a further one is closed (4504)."
    )

    @classmethod
    def all(cls) -> Iterator[Setting[Any]]:
        """Return all settings, in the order above."""
        return (value for value in vars(cls).values() if isinstance(value, Setting))

    def problems(self) -> Iterator[Problem]:
        """Yield a problem for each unknown or invalid key of ``settings.CHATSESSIONS``."""
        known = {setting.name: setting for setting in self.all()}
        for name, value in _given().items():
            setting = known.get(name)
            if setting is None:
                yield _unknown(name, list(known))
            elif not setting.accepts(value):
                yield setting.problem(value)


def _unknown(name: object, known: list[str]) -> Problem:
    near = get_close_matches(str(name).upper(), known, n=1)
    return Problem(
        name=str(name),
        message=f"CHATSESSIONS has no setting {name!r}.",
        hint=f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}.",
    )


settings = Settings()


# Handlers and clients see times with an offset, whatever USE_TZ is.


def with_offset(at: datetime) -> datetime:
    """Return ``at`` with an offset: that of ``TIME_ZONE`` if it has none (``USE_TZ=False``)."""
    if at.tzinfo is not None:
        return at
    if django_settings.TIME_ZONE is None:
        return at.astimezone()  # the host's time zone
    return timezone.make_aware(at, timezone.get_default_timezone())


def for_database(at: datetime) -> datetime:
    """
    Return ``at``, which has an offset, as the database stores times.

    Under ``USE_TZ=False`` this is the local time in ``TIME_ZONE``, without an offset.
    """
    if django_settings.USE_TZ:
        return at
    if django_settings.TIME_ZONE is None:
        return at.astimezone().replace(tzinfo=None)
    return timezone.make_naive(at, timezone.get_default_timezone())


def _forget(*, setting: str, **_: Any) -> None:
    if setting in ("CHATSESSIONS", "USE_TZ"):
        vars(settings).clear()


setting_changed.connect(_forget, dispatch_uid="chatsessions.conf")

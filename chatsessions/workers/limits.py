"""
``Limits``: how much one client may ask of this worker, by its session and by its address.

A session limits the pace of its events itself. The limits here are for all else that has a cost:
new sessions, requests that load one, replays of its log, searches, and open event streams.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from ipaddress import IPv6Address, IPv6Network, ip_address
from threading import Lock
from typing import Any, NoReturn
from uuid import UUID

from django.core.signals import setting_changed
from django.utils.translation import gettext

from chatsessions.conf import settings
from chatsessions.exceptions import FrameError
from chatsessions.protocol.delivery import RateLimit, milliseconds

logger = logging.getLogger("chatsessions.worker")

#: The most token buckets that are kept; the least recently used are dropped first.
MAX_BUCKETS = 10_000
#: The prefix length in bits of an IPv6 network; each host chooses the rest of its address itself.
IPV6_NETWORK = 64


class Replay:
    """The pace, in bytes per second, at which a stored log is sent to one client."""

    def __init__(self, clock: Callable[[], float], buckets: Sequence[RateLimit]) -> None:
        self._clock = clock
        self._buckets = buckets

    async def room(self) -> None:
        """Wait until the pace allows the next read."""
        while wait := self._wait:  # noqa: ASYNC110, RUF100  # only time has to pass
            await asyncio.sleep(wait)

    def check(self) -> None:
        """Raise ``FrameError`` ``rate_limited`` if :meth:`room` would wait."""
        if wait := self._wait:
            _refuse("rate_limited", gettext("The log is asked for again and again."), wait)

    @property
    def _wait(self) -> float:
        return max(bucket.wait(self._clock(), 0.0) for bucket in self._buckets)

    def took(self, size: int) -> None:
        """Count ``size`` bytes that were read."""
        for bucket in self._buckets:
            bucket.spend(self._clock(), size)


class Limits:
    """
    The limits of one worker, or of all workers whose event loops last for one request.

    All sessions of one address together may do ``ADDRESS_FACTOR`` times what one session may do.
    If a client's address is not known, only the limit of the session counts.
    """

    def __init__(self, clock: Callable[[], float], *, max_buckets: int = MAX_BUCKETS) -> None:
        self._clock = clock
        self._max_buckets = max_buckets
        #: Several threads can use the same limits.
        self._lock = Lock()
        #: The least recently used first.
        self._buckets: dict[Hashable, RateLimit] = {}
        self._streams: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._buckets)

    def bucket(self, key: Hashable, *, rate: float, burst: int) -> RateLimit:
        """Return the bucket of ``key``: ``burst`` tokens at first, and ``rate`` more per second."""
        with self._lock:
            bucket = self._buckets.get(key)
            if bucket is None:
                bucket = RateLimit(rate=rate, burst=burst, now=self._clock())
            self._remember(key, bucket)
        return bucket

    def _remember(self, key: Hashable, bucket: RateLimit) -> None:
        self._buckets.pop(key, None)
        self._buckets[key] = bucket
        if len(self._buckets) > self._max_buckets:
            del self._buckets[next(iter(self._buckets))]

    def forget(self) -> None:
        """Count from the beginning. Event streams that are open still count."""
        with self._lock:
            self._buckets.clear()

    # Events

    def event_pace(self, session: UUID) -> RateLimit:
        """Return the pace of a session's events, kept while the session is not in memory."""
        rate, burst = settings.EVENTS_PER_SECOND, settings.EVENT_BURST
        return self.bucket(("event", session), rate=rate, burst=burst)

    def keep_event_pace(self, session: UUID, pace: RateLimit) -> None:
        """Keep the pace of a session that leaves memory."""
        with self._lock:
            self._remember(("event", session), pace)

    # New sessions

    def new_session(self, ip: str | None) -> None:
        """
        Count a session that is about to be made for an anonymous client.

        Raises ``FrameError`` ``rate_limited``.
        """
        address, now = address_of(ip), self._clock()
        if address is None:
            return
        most = settings.NEW_SESSIONS_PER_MINUTE
        wait = self.bucket(("new", address), rate=most / 60, burst=most).take(now)
        if not wait:
            return
        if not self.bucket(("warned", address), rate=1 / 60, burst=1).take(now):
            logger.warning(
                "More than NEW_SESSIONS_PER_MINUTE (%d) new sessions are asked for at %s. If that "
                "is a proxy, have it tell the clients' addresses and the server believe it.",
                most,
                address,
            )
        _refuse("rate_limited", gettext("There are too many new sessions."), wait)

    # Requests

    def read(self, session: UUID, ip: str | None) -> None:
        """
        Count a ``hello`` or a GET that is about to load ``session``.

        Raises ``FrameError`` ``rate_limited``.
        """
        self._take("read", session, ip, settings.READS_PER_SECOND, settings.READ_BURST)

    def post(self, session: UUID, ip: str | None) -> None:
        """
        Count a POST that is about to load ``session``: the limit is twice that of events.

        Raises ``FrameError`` ``rate_limited``.
        """
        rate, burst = 2 * settings.EVENTS_PER_SECOND, 2 * settings.EVENT_BURST
        self._take("post", session, ip, rate, burst)

    def _take(self, kind: str, session: UUID, ip: str | None, rate: float, burst: int) -> None:
        now = self._clock()
        shared = self._of_address(kind, ip, rate, burst)
        wait = 0.0 if shared is None else shared.wait(now)
        # If the address is refused, the session gets no bucket: else a client that makes up session
        # ids would push out the buckets of others.
        if not wait:
            wait = self.bucket((kind, address_of(ip), session), rate=rate, burst=burst).take(now)
        if wait:
            _refuse("rate_limited", gettext("There are too many requests for this session."), wait)
        if shared is not None:
            shared.spend(now, 1)  # refused requests do not count: others share the address

    def search(self, user: Hashable) -> None:
        """
        Count a search in the logs of a user.

        Raises ``FrameError`` ``rate_limited``.
        """
        most = settings.SEARCHES_PER_MINUTE
        bucket = self.bucket(("search", user), rate=most / 60, burst=most)
        if wait := bucket.take(self._clock()):
            _refuse("rate_limited", gettext("There are too many searches."), wait)

    # Replays

    def replay(self, session: UUID, ip: str | None) -> Replay:
        """Return the pace at which the log of ``session`` is read for a client at ``ip``."""
        rate, burst = settings.REPLAY_BYTES_PER_SECOND, settings.REPLAY_BURST_BYTES
        shared = self._of_address("replay", ip, rate, burst)
        mine = self.bucket(("replay", address_of(ip), session), rate=rate, burst=burst)
        return Replay(self._clock, [mine] if shared is None else [shared, mine])

    # Streams

    def open_stream(self, session: UUID, ip: str | None) -> Callable[[], None]:
        """
        Count an event stream that is opened. Return a function to call once, at its end.

        Raises ``FrameError`` ``busy`` if too many are open.
        """
        address = address_of(ip)
        most: dict[Hashable, int] = {(session, address): settings.MAX_STREAMS}
        if address is not None:
            most[address] = settings.MAX_STREAMS * settings.ADDRESS_FACTOR
        with self._lock:
            if any(self._streams[key] >= limit for key, limit in most.items()):
                _refuse("busy", gettext("Too many event streams are open."), 1.0)
            self._streams.update(most.keys())

        def close() -> None:
            with self._lock:
                for key in most:
                    self._streams[key] -= 1
                    if not self._streams[key]:
                        del self._streams[key]

        return close

    def _of_address(self, kind: str, ip: str | None, rate: float, burst: int) -> RateLimit | None:
        """Return the bucket of all sessions of an address; None if the address is not known."""
        address, factor = address_of(ip), settings.ADDRESS_FACTOR
        if address is None:
            return None
        return self.bucket((kind, address), rate=rate * factor, burst=burst * factor)


#: For event loops that last for one request, as under WSGI: they can only count together.
SHARED = Limits(time.monotonic)


def _forget(*, setting: str, **_: Any) -> None:
    """Let no test that sets other limits begin with what the tests before it used up."""
    if setting == "CHATSESSIONS":
        SHARED.forget()


setting_changed.connect(_forget, dispatch_uid="chatsessions.workers.limits")


def address_of(ip: str | None) -> str | None:
    """Return the address under which a client is counted: for IPv6 its network."""
    if ip is None:
        return None
    address = ip_address(ip)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(IPv6Network((address, IPV6_NETWORK), strict=False))
    return ip


def _refuse(code: str, detail: str, wait: float) -> NoReturn:
    raise FrameError(code, detail, retry_after=milliseconds(wait))

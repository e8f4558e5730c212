"""
The rules of delivery: every event once and in order, without a socket or a clock.

On the server a session has a :class:`Gate`, which checks the numbers and the pace of the client's
events, and an :class:`Outbox`, which holds frames back until they may be sent; a connection has a
:class:`SendWindow`. A client has a :class:`ClientDelivery` with a :class:`ClientWindow`.
"""

from __future__ import annotations

from bisect import bisect
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from math import ceil
from typing import Generic, TypeVar

from chatsessions.exceptions import FrameError

T = TypeVar("T")

#: The fraction of a token that may be missing, by rounding, after exactly the waiting time that
#: :class:`RateLimit` has returned.
_ALMOST = 1e-6


class Handled:
    """
    The client's events whose turns have ended.

    Nearly always these are all events up to one number. Events that have overtaken one which waits
    for an answer are kept as runs of numbers: there are few runs, however many events there are.
    """

    __slots__ = ("runs", "up_to")

    def __init__(self, up_to: int = 0, ahead: Iterable[int] = ()) -> None:
        self.up_to = up_to
        #: First and last number of each run, in order; between two runs a number is missing.
        self.runs: list[tuple[int, int]] = []
        for number in ahead:
            if number < 0:
                first, _ = self.runs.pop()
                self._put(first, -number)
            else:
                self._put(number, number)

    def __contains__(self, n: int) -> bool:
        return n <= self.up_to or any(first <= n <= last for first, last in self.runs)

    @property
    def count_ahead(self) -> int:
        """How many events beyond ``up_to`` have ended."""
        return sum(last - first + 1 for first, last in self.runs)

    @property
    def ahead(self) -> list[int]:
        """
        The events beyond ``up_to`` that have ended, as they are stored.

        Three or more numbers in a row are written as the first, and the last as a negative number.
        """
        stored: list[int] = []
        for first, last in self.runs:
            stored += [first, -last] if last - first > 1 else range(first, last + 1)
        return stored

    def add(self, n: int) -> bool:
        """Note that event ``n`` has ended; return True if ``ahead`` has changed."""
        if n != self.up_to + 1:
            if n in self:
                return False
            self._put(n, n)
            return True
        self.up_to = n
        if not self.runs or self.runs[0][0] != n + 1:
            return False
        self.up_to = self.runs.pop(0)[1]
        return True

    def add_all(self, accepted: int) -> bool:
        """Note that all events up to ``accepted`` have ended; return True if ``ahead`` changed."""
        changed = bool(self.runs)
        self.up_to = max(self.up_to, accepted)
        self.runs.clear()
        return changed

    def _put(self, first: int, last: int) -> None:
        """Add a run, and join it with those beside it."""
        place = bisect(self.runs, (first, last))
        if place < len(self.runs) and self.runs[place][0] == last + 1:
            last = self.runs.pop(place)[1]
        if place and self.runs[place - 1][1] == first - 1:
            first = self.runs.pop(place - 1)[0]
            place -= 1
        self.runs.insert(place, (first, last))


class Outbox(Generic[T]):
    """
    Holds frames back, in their order, until the log is stored.

    The frame of an entry is free when the entry is stored. A frame that is not of the log, such as
    a token, is free at once, unless an entry before it is not stored yet.
    """

    __slots__ = ("stored", "waiting")

    def __init__(self, stored: int = 0) -> None:
        self.stored = stored
        #: The held frames, each with the entry that it waits for. A list, as an empty one takes no
        #: memory: each session has one, and mostly it is empty.
        self.waiting: list[tuple[int, T]] = []

    def hold(self, after: int, frame: T) -> bool:
        """Hold ``frame`` until entry ``after`` is stored; return False if it is free now."""
        if after <= self.stored and not self.waiting:
            return False
        self.waiting.append((after, frame))
        return True

    def release(self, stored: int) -> list[T]:
        """Note that entries up to ``stored`` are stored; return the frames that are free now."""
        self.stored = stored
        held = (place for place, (after, _) in enumerate(self.waiting) if after > stored)
        end = next(held, len(self.waiting))
        free = [frame for _, frame in self.waiting[:end]]
        del self.waiting[:end]
        return free


class SendWindow:
    """Counts what a connection was sent and has not acknowledged, to recognize a slow client."""

    __slots__ = ("_bytes", "_max_bytes", "_max_events", "_sent", "volatile_bytes")

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        #: The ``seq`` and the bytes of each unacknowledged entry; a list, as in ``Outbox``.
        self._sent: list[tuple[int, int]] = []
        self._bytes = 0
        self.volatile_bytes = 0

    @property
    def full(self) -> bool:
        """Whether the client is too far behind. A single entry, of any size, is never too much."""
        return len(self._sent) > self._max_events or (
            self._bytes > self._max_bytes and len(self._sent) > 1
        )

    @property
    def half_full(self) -> bool:
        """Whether a replay has to wait for the client."""
        return len(self._sent) * 2 > self._max_events or self._bytes * 2 > self._max_bytes

    @property
    def volatile_full(self) -> bool:
        """Whether tokens are left out until the client sends something."""
        return self.volatile_bytes > self._max_bytes

    def sent(self, seq: int, size: int) -> None:
        """Note that entry ``seq`` was sent, in ``size`` bytes."""
        self._sent.append((seq, size))
        self._bytes += size

    def ack(self, seq: int) -> None:
        """Note that the client has applied all entries up to ``seq``."""
        end = 0
        for sent, size in self._sent:
            if sent > seq:
                break
            self._bytes -= size
            end += 1
        del self._sent[:end]


class RateLimit:
    """
    A token bucket: ``burst`` at once, ``rate`` per second over time.

    A ``now`` that is earlier than the latest one counts as the latest. A caller may be delayed
    between reading the clock and the call, and an earlier ``now`` would take tokens away.
    """

    __slots__ = ("_burst", "_rate", "_tokens", "_updated")

    def __init__(self, *, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._updated = now

    def take(self, now: float) -> float:
        """Take a token at ``now`` (seconds) and return 0, or return how long to wait for one."""
        if now < self._updated:
            now = self._updated
        tokens = self._tokens + (now - self._updated) * self._rate
        self._tokens = tokens if tokens < self._burst else self._burst
        self._updated = now
        if self._tokens >= 1 - _ALMOST:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate

    def wait(self, now: float, cost: float = 1.0) -> float:
        """Return the seconds until there are ``cost`` tokens; 0 if they are there."""
        lacking = cost - self._tokens - max(0.0, now - self._updated) * self._rate
        return lacking / self._rate if lacking > _ALMOST else 0.0

    def spend(self, now: float, cost: float) -> None:
        """Take ``cost`` tokens, even if they are not there: the next one has to wait longer."""
        now = max(now, self._updated)
        tokens = self._tokens + (now - self._updated) * self._rate
        self._tokens = min(tokens, self._burst) - cost
        self._updated = now


class Gate:
    """
    Takes each event of a session's client once, in the order of their numbers: 1, 2, 3, …

    It says whether an event is new, a repeat, or refused for now. At most ``max_pending`` accepted
    events may wait for their turns, and at most ``max_strikes`` events in a row may come earlier
    than their ``retry_after`` allows. ``accepted`` is the last number that was taken before.
    ``seqs`` maps the latest numbers to the ``seq`` of their entries; the gate remembers the last
    ``seqs_kept`` of them, and those that :meth:`take` still needs.
    """

    def __init__(
        self,
        rate: RateLimit,
        *,
        max_pending: int,
        max_strikes: int,
        accepted: int = 0,
        seqs: Mapping[int, int] | None = None,
        seqs_kept: int = 256,
    ) -> None:
        self.rate = rate
        self.accepted = accepted
        self._seqs = dict(seqs or {})
        self._oldest = min(self._seqs, default=accepted + 1)
        self._seqs_kept = seqs_kept
        self._max_pending = max_pending
        self._max_strikes = max_strikes
        self._refusal: tuple[str, str] | None = None
        self._until = 0.0
        self._strikes = 0

    @property
    def is_hammered(self) -> bool:
        """Whether more than ``max_strikes`` events in a row have come too early."""
        return self._strikes > self._max_strikes

    def admit(
        self, n: int, *, now: float, pending: int, storing: bool, crowded: bool = False
    ) -> bool:
        """
        Return True for a new event, which the caller then takes, and False for a repeat.

        ``pending`` events wait already, and ``crowded`` says that they take too many bytes.
        ``storing`` is False while nothing can be stored. Raises ``FrameError`` with ``n_gap``,
        ``rate_limited``, ``busy`` or ``storage_unavailable``.
        """
        if n <= self.accepted:
            return False
        if n > self.accepted + 1:
            self._refuse_gap(n, now)
        if not storing:
            self._refuse(n, "storage_unavailable", "the event could not be stored", now, 1.0)
        if crowded or pending >= self._max_pending:
            self._refuse(n, "busy", f"{pending} events are waiting already", now, 1.0)
        if wait := self.rate.take(now):
            self._refuse_early(n, now, wait)
        self._strikes = 0
        self._refusal = None
        return True

    def take(self, n: int, seq: int, *, needed: int) -> None:
        """Note that event ``n`` is entry ``seq``. Events from ``needed`` on are not forgotten."""
        self.accepted = n
        self._seqs[n] = seq
        forget = min(n - self._seqs_kept, needed - 1)
        while self._oldest <= forget:
            self._seqs.pop(self._oldest, None)
            self._oldest += 1

    def seq_of(self, n: int) -> int | None:
        """Return the entry of event ``n``, if it waits, runs or was taken lately."""
        return self._seqs.get(n)

    def charge(self, n: int, *, now: float) -> None:
        """Count event ``n`` for the pace. Raises ``FrameError`` with ``rate_limited``."""
        if wait := self.rate.take(now):
            self._refuse_early(n, now, wait)

    def check_pace(self, n: int, *, now: float) -> None:
        """Raise ``FrameError`` with ``rate_limited`` if :meth:`charge` would."""
        if wait := self.rate.wait(now):
            self._refuse_early(n, now, wait)

    def _refuse_early(self, n: int, now: float, wait: float) -> None:
        # Only events that come earlier than their ``retry_after`` allows are counted.
        self._strikes = self._strikes + 1 if now < self._until else 1
        self._refuse(n, "rate_limited", "too many events", now, wait)

    def _refuse_gap(self, n: int, now: float) -> None:
        """Refuse an event after a refused one for the same reason, or report a missing event."""
        if self._refusal is not None and now < self._until:
            raise FrameError(*self._refusal, n=n, retry_after=milliseconds(self._until - now))
        expected = self.accepted + 1
        raise FrameError("n_gap", f"the next event is {expected}, not {n}", n=expected)

    def _refuse(self, n: int, code: str, detail: str, now: float, wait: float) -> None:
        self._refusal = (code, detail)
        self._until = now + wait
        raise FrameError(code, detail, n=n, retry_after=milliseconds(wait))


def milliseconds(seconds: float) -> float:
    """Return ``seconds`` rounded up to milliseconds, so that the client waits long enough."""
    return ceil(seconds * 1000) / 1000


#: How many unaccepted events a client may have on the wire, unless the welcome says how many.
DEFAULT_WINDOW = 100


class ClientWindow:
    """
    How many unaccepted events a client may have on the wire, and how long it waits when refused.

    After a refusal the window is one event, and grows by one for every four events that are
    accepted. So the events that are refused together are about a fourth of those that were
    accepted. If hardly any event is accepted between two refusals, the waits become longer.
    """

    #: The window before any event was accepted or refused.
    FIRST = 16
    #: With fewer accepted events between two refusals the wait is doubled, with more it is halved.
    FEW, MANY = 8, 32
    #: The longest wait in seconds, unless the server asks for a longer one.
    LONGEST = 5.0

    __slots__ = ("_accepted", "_first", "_wait", "maximum")

    def __init__(self, maximum: int = DEFAULT_WINDOW) -> None:
        self.maximum = maximum
        self._first = self.FIRST
        #: How many events were accepted since the last refusal.
        self._accepted = 0
        self._wait = 0.0

    @property
    def size(self) -> int:
        return min(self.maximum, max(1, self._first + self._accepted // 4))

    def accepted(self, count: int) -> None:
        """Note that the server has accepted ``count`` more events."""
        self._accepted += count

    def refused(self, retry_after: float) -> float:
        """Note that an event was refused; return the seconds to wait before it is sent again."""
        if self._accepted < self.FEW:
            self._wait = min(2 * self._wait, self.LONGEST)
        elif self._accepted >= self.MANY:
            self._wait /= 2
        self._wait = max(self._wait, retry_after)
        self._first = self._accepted = 0
        return self._wait


class ClientDelivery(Generic[T]):
    """
    A client's side of the delivery: its events are accepted once, and it applies each entry once.

    It numbers events and keeps them until they are accepted. ``T`` is the type of an event, such as
    a ``(name, data)`` pair.
    """

    def __init__(self) -> None:
        self.received = 0
        self._next = 1
        #: Whether a welcome has told the numbers of the session, and events have them.
        self._counts = False
        self._unaccepted: OrderedDict[int, T] = OrderedDict()
        self._window = ClientWindow()
        #: The highest number that was sent.
        self._sent = 0
        #: The number that was refused or reported as missing. Events that were sent after it bring
        #: the same report again.
        self._hole: int | None = None

    @property
    def unaccepted(self) -> list[tuple[int, T]]:
        """The events that are not known to be accepted, with their numbers, in order."""
        return list(self._unaccepted.items())

    @property
    def next_n(self) -> int:
        """The number of the next event."""
        return self._next

    @property
    def on_the_wire(self) -> int:
        """How many events were sent and neither accepted nor refused."""
        return max(0, self._sent + 1 - (self._next - len(self._unaccepted)))

    def to_send(self) -> list[tuple[int, T]]:
        """Return the events to send now, in order. They count as sent."""
        first = max(self._sent + 1, self._next - len(self._unaccepted))
        end = min(self._next, first + self._window.size - self.on_the_wire)
        self._sent = max(self._sent, end - 1)
        return [(n, self._unaccepted[n]) for n in range(first, end)]

    def refused(self, n: int, retry_after: float) -> float | None:
        """
        Note that event ``n`` was refused; return the seconds to wait before the next ``to_send()``.

        Returns None if the event counts as not sent, since an event before it was refused.
        """
        if n not in self._unaccepted or n > self._sent:
            return None
        self.send_again(n)
        return self._window.refused(retry_after)

    def missing(self, n: int) -> bool:
        """Note that the server misses event ``n``; return True if it has to be sent again."""
        if n == self._hole or n > self._sent:
            return False
        self.send_again(n)
        return True

    def send_again(self, n: int) -> None:
        """Count event ``n`` and those after it as not sent."""
        self._hole = n
        self._sent = n - 1

    def number(self, event: T) -> int:
        """Give an event the next number, and return the number."""
        n = self._next
        self._next += 1
        self._unaccepted[n] = event
        return n

    def welcomed(
        self,
        *,
        resumed: bool,
        accepted: int,
        first: int,
        yours: int | None = None,
        window: int = DEFAULT_WINDOW,
    ) -> bool:
        """
        Take a welcome; return True if what was applied so far has to be cleared.

        It has to be cleared for a new session, and if the next entries are no longer kept.
        ``accepted`` is the welcome's ``received``, ``first`` the first entry that is kept. Numbers
        above ``yours`` belong to events that came by HTTP; by default all numbers are the client's.
        ``window`` events may be on the wire.
        """
        self._window = ClientWindow(window)
        self._sent, self._hole = 0, None
        counts, self._counts = self._counts, True
        if not resumed:
            self._renumber(1)
            self.received = 0
            return True
        if counts and yours is not None and yours < accepted:
            self._accept_up_to(yours)
            self._renumber(accepted + 1)
        elif counts:
            self._accept_up_to(accepted)
        else:
            self._renumber(accepted + 1)
        if first > self.received + 1:
            self.received = first - 1
            return True
        return False

    def accepted(self, n: int, seq: int) -> None:
        """Note that event ``n`` is stored as entry ``seq``."""
        self._accept_up_to(n)
        if seq == self.received + 1:
            self.received = seq

    def apply(self, seq: int, *, n: int | None = None) -> bool:
        """
        Return True if entry ``seq`` is new and has to be applied, and False for a repeat.

        Raises ``ValueError`` if entries are missing: the client has to connect again and resume.
        """
        if n is not None:
            self._accept_up_to(n)
        if seq <= self.received:
            return False
        if seq > self.received + 1:
            raise ValueError(f"entry {seq} came after {self.received}: a hole in the log")
        self.received = seq
        return True

    def _renumber(self, first: int) -> None:
        self._unaccepted = OrderedDict(enumerate(self._unaccepted.values(), start=first))
        self._next = first + len(self._unaccepted)

    def _accept_up_to(self, n: int) -> None:
        waiting = len(self._unaccepted)
        while self._unaccepted and next(iter(self._unaccepted)) <= n:
            self._unaccepted.popitem(last=False)
        self._window.accepted(waiting - len(self._unaccepted))
        self._next = max(self._next, n + 1)

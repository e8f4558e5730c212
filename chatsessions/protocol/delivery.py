"""
Positions, duplicates, gaps and windows: what makes delivery exact, without a socket or a clock.

The server's side of one session is a :class:`Gate` (the client's numbers and their pace), an
:class:`Outbox` (what may leave for the client, and when) and, per connection, a
:class:`SendWindow`. The client's side is a :class:`ClientDelivery`, with a :class:`ClientWindow`.
"""

from __future__ import annotations

from bisect import bisect
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from math import ceil
from typing import Generic, TypeVar

from chatsessions.exceptions import FrameError

T = TypeVar("T")

#: Of a token: what floating point may lack after exactly the time it was said to take.
_ALMOST = 1e-6


class Verdict(Enum):
    """What to do with a client's event number."""

    NEW = auto()
    REPEAT = auto()
    GAP = auto()


class Intake:
    """Takes each of a client's events once: numbers 1, 2, 3, … without holes."""

    __slots__ = ("_oldest", "_seqs", "_seqs_kept", "accepted")

    def __init__(
        self,
        accepted: int = 0,
        seqs: Mapping[int, int] | None = None,
        *,
        seqs_kept: int = 256,
    ) -> None:
        self.accepted = accepted
        self._seqs = dict(seqs or {})
        self._oldest = min(self._seqs, default=accepted + 1)
        self._seqs_kept = seqs_kept

    @property
    def expected(self) -> int:
        return self.accepted + 1

    def judge(self, n: int) -> Verdict:
        if n == self.accepted + 1:
            return Verdict.NEW
        return Verdict.REPEAT if n <= self.accepted else Verdict.GAP

    def take(self, n: int, seq: int, *, needed: int | None = None) -> None:
        """Event ``n`` becomes entry ``seq``; those from ``needed`` on are not to be forgotten."""
        self.accepted = n
        self._seqs[n] = seq
        forget = n - self._seqs_kept if needed is None else min(n - self._seqs_kept, needed - 1)
        while self._oldest <= forget:
            self._seqs.pop(self._oldest, None)
            self._oldest += 1

    def seq_of(self, n: int) -> int | None:
        """The entry that event ``n`` became, as long as it is remembered."""
        return self._seqs.get(n)


class Handled:
    """
    Which of a client's events have come to their end.

    Nearly always all up to one number; some may overtake one that waits for an answer. Those are
    kept as runs: there are no more of them than events that wait, however many have overtaken.
    """

    __slots__ = ("_runs", "up_to")

    def __init__(self, up_to: int = 0, ahead: Iterable[int] = ()) -> None:
        self.up_to = up_to
        #: First and last number of each run, in order; between two of them one is missing.
        self._runs: list[tuple[int, int]] = []
        for number in ahead:
            if number < 0:
                first, _ = self._runs.pop()
                self._put(first, -number)
            else:
                self._put(number, number)

    def __contains__(self, n: int) -> bool:
        return n <= self.up_to or any(first <= n <= last for first, last in self._runs)

    @property
    def count_ahead(self) -> int:
        """How many there are beyond ``up_to``."""
        return sum(last - first + 1 for first, last in self._runs) if self._runs else 0

    @property
    def ahead(self) -> list[int]:
        """
        Those beyond ``up_to``, in order, to be stored.

        Of three and more that follow each other the first, and the last as a negative number.
        """
        stored: list[int] = []
        for first, last in self._runs:
            stored += [first, -last] if last - first > 1 else range(first, last + 1)
        return stored

    def add(self, n: int) -> bool:
        """Event ``n`` has come to its end. Whether ``ahead`` is another one now."""
        if n != self.up_to + 1:
            if n in self:
                return False
            self._put(n, n)
            return True
        self.up_to = n
        if not self._runs or self._runs[0][0] != n + 1:
            return False
        self.up_to = self._runs.pop(0)[1]
        return True

    def all(self, accepted: int) -> bool:
        """All up to ``accepted`` have. Whether ``ahead`` is another one now."""
        changed = bool(self._runs)
        self.up_to = max(self.up_to, accepted)
        self._runs.clear()
        return changed

    def _put(self, first: int, last: int) -> None:
        """One more run, which may join those beside it."""
        place = bisect(self._runs, (first, last))
        if place < len(self._runs) and self._runs[place][0] == last + 1:
            last = self._runs.pop(place)[1]
        if place and self._runs[place - 1][1] == first - 1:
            first = self._runs.pop(place - 1)[0]
            place -= 1
        self._runs.insert(place, (first, last))


class Outbox(Generic[T]):
    """
    Keeps frames in the order in which they came about.

    A frame that belongs to the log leaves when its entry is stored; one that does not (a token)
    leaves at once, unless an entry before it is still waiting.
    """

    __slots__ = ("_waiting", "stored")

    def __init__(self, stored: int = 0) -> None:
        self.stored = stored
        self._waiting: deque[tuple[int, T]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def hold(self, after: int, frame: T) -> bool:
        """Keep ``frame`` until entry ``after`` is stored; false if it may leave now."""
        if after <= self.stored and not self._waiting:
            return False
        self._waiting.append((after, frame))
        return True

    def release(self, stored: int) -> list[T]:
        """Everything up to entry ``stored`` is stored: what may leave now."""
        self.stored = stored
        free = []
        while self._waiting and self._waiting[0][0] <= stored:
            free.append(self._waiting.popleft()[1])
        return free


class SendWindow:
    """What a connection was sent and has not acknowledged: the one sign of a slow reader."""

    __slots__ = ("_bytes", "_max_bytes", "_max_events", "_sent", "acked", "volatile_bytes")

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._sent: deque[tuple[int, int]] = deque()
        self._bytes = 0
        self.acked = 0
        self.volatile_bytes = 0

    @property
    def full(self) -> bool:
        """Whether the client is too far behind. One entry alone never is, whatever its size."""
        return len(self._sent) > self._max_events or (
            self._bytes > self._max_bytes and len(self._sent) > 1
        )

    @property
    def half_full(self) -> bool:
        """Whether a replay should wait for the client to catch up."""
        return len(self._sent) * 2 > self._max_events or self._bytes * 2 > self._max_bytes

    @property
    def volatile_full(self) -> bool:
        """Whether tokens should be left out until the client is heard again."""
        return self.volatile_bytes > self._max_bytes

    def sent(self, seq: int, size: int) -> None:
        self._sent.append((seq, size))
        self._bytes += size

    def ack(self, seq: int) -> None:
        """The client has applied everything up to ``seq``."""
        self.acked = max(self.acked, seq)
        while self._sent and self._sent[0][0] <= seq:
            self._bytes -= self._sent.popleft()[1]


class RateLimit:
    """A token bucket: ``burst`` at once, ``rate`` per second over time."""

    __slots__ = ("_burst", "_rate", "_tokens", "_updated")

    def __init__(self, *, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._updated = now

    def take(self, now: float) -> float:
        """0 if one more is allowed at ``now`` (seconds), else the seconds to wait for it."""
        tokens = self._tokens + (now - self._updated) * self._rate
        self._tokens = tokens if tokens < self._burst else self._burst
        self._updated = now
        if self._tokens >= 1 - _ALMOST:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate

    def wait(self, now: float, cost: float = 1.0) -> float:
        """The seconds until ``cost`` tokens are there; 0 if they are."""
        lacking = cost - self._tokens - (now - self._updated) * self._rate
        return lacking / self._rate if lacking > _ALMOST else 0.0

    def spend(self, now: float, cost: float) -> None:
        """``cost`` tokens were used, whether they were there or not: who comes next waits."""
        tokens = self._tokens + (now - self._updated) * self._rate
        self._tokens = min(tokens, self._burst) - cost
        self._updated = now


class Gate:
    """
    Decides on each event of one session's client: new, met before, or refused for now.

    ``max_pending`` is how many accepted events may wait for their turn, ``max_strikes`` how many
    events in a row may come before their ``retry_after``.
    """

    __slots__ = (
        "_max_pending",
        "_max_strikes",
        "_refusal",
        "_strikes",
        "_until",
        "intake",
        "rate",
    )

    def __init__(
        self, intake: Intake, rate: RateLimit, *, max_pending: int, max_strikes: int
    ) -> None:
        self.intake = intake
        self.rate = rate
        self._max_pending = max_pending
        self._max_strikes = max_strikes
        self._refusal: tuple[str, str] | None = None
        self._until = 0.0
        self._strikes = 0

    @property
    def is_hammered(self) -> bool:
        """Whether the rate limit was exceeded again and again."""
        return self._strikes > self._max_strikes

    def admit(
        self, n: int, *, now: float, pending: int, storing: bool, crowded: bool = False
    ) -> bool:
        """
        True for a new event, which the caller then takes; false for a repeat.

        ``pending`` events wait already, ``crowded`` if they take too many bytes; ``storing`` is
        false while the store takes nothing.
        Raises ``FrameError`` ``n_gap``, ``rate_limited``, ``busy`` or ``storage_unavailable``.
        """
        verdict = self.intake.judge(n)
        if verdict is Verdict.REPEAT:
            return False
        if verdict is Verdict.GAP:
            self._refuse_gap(n, now)
        if not storing:
            self._refuse(n, "storage_unavailable", "the event could not be stored", now, 1.0)
        if crowded or pending >= self._max_pending:
            self._refuse(n, "busy", f"{pending} events are waiting already", now, 1.0)
        self.charge(n, now=now)
        self._strikes = 0
        self._refusal = None
        return True

    def charge(self, n: int, *, now: float) -> None:
        """Event ``n`` counts. Raises ``FrameError`` ``rate_limited``."""
        if wait := self.rate.take(now):
            self._refuse_early(n, now, wait)

    def check_pace(self, n: int, *, now: float) -> None:
        """Raise ``FrameError`` ``rate_limited`` if ``charge`` would."""
        if wait := self.rate.wait(now):
            self._refuse_early(n, now, wait)

    def _refuse_early(self, n: int, now: float, wait: float) -> None:
        # Only who comes before the time it was told is hammering.
        self._strikes = self._strikes + 1 if now < self._until else 1
        self._refuse(n, "rate_limited", "too many events", now, wait)

    def _refuse_gap(self, n: int, now: float) -> None:
        """What was sent behind a refused event shares its fate; anything else left a hole."""
        if self._refusal is not None and now < self._until:
            raise FrameError(*self._refusal, n=n, retry_after=_milliseconds(self._until - now))
        expected = self.intake.expected
        raise FrameError("n_gap", f"the next event is {expected}, not {n}", n=expected)

    def _refuse(self, n: int, code: str, detail: str, now: float, wait: float) -> None:
        self._refusal = (code, detail)
        self._until = now + wait
        raise FrameError(code, detail, n=n, retry_after=_milliseconds(wait))


def _milliseconds(seconds: float) -> float:
    """Rounded up: who waits that long has waited long enough."""
    return ceil(seconds * 1000) / 1000


#: How many events a client may have on the wire if the server's welcome does not say.
DEFAULT_WINDOW = 100


class ClientWindow:
    """
    How many unaccepted events a client may have on the wire, and how long it waits when refused.

    After a refusal it begins with one event, and has one more for every four that are accepted. So
    what is sent behind a refused event, and refused with it, is a fourth of what was taken. Where
    hardly anything is taken between two refusals the waits become longer.
    """

    #: Events on the wire before anything was accepted or refused.
    FIRST = 16
    #: Accepted events between two refusals: with fewer the wait is doubled, with more it is halved.
    FEW, MANY = 8, 32
    #: The longest wait in seconds, unless the server asks for more.
    LONGEST = 5.0

    __slots__ = ("_accepted", "_first", "_wait", "maximum")

    def __init__(self, maximum: int = DEFAULT_WINDOW) -> None:
        self.maximum = maximum
        self._first = self.FIRST
        #: Events that were accepted since the last refusal.
        self._accepted = 0
        self._wait = 0.0

    @property
    def size(self) -> int:
        return min(self.maximum, max(1, self._first + self._accepted // 4))

    def accepted(self, count: int) -> None:
        """The server has taken ``count`` more events."""
        self._accepted += count

    def refused(self, retry_after: float) -> float:
        """An event was refused for now: the seconds to wait before it is sent again."""
        if self._accepted < self.FEW:
            self._wait = min(2 * self._wait, self.LONGEST)
        elif self._accepted >= self.MANY:
            self._wait /= 2
        self._wait = max(self._wait, retry_after)
        self._first = self._accepted = 0
        return self._wait


class ClientDelivery(Generic[T]):
    """
    A client's side: numbers what it sends, keeps it until accepted, and applies the log once.

    ``T`` is what an event is to the client, for instance a ``(name, data)`` pair.
    """

    def __init__(self) -> None:
        self.received = 0
        self._next = 1
        #: Whether the numbers are the session's: only a welcome tells where an old one is.
        self._counts = False
        self._unaccepted: OrderedDict[int, T] = OrderedDict()
        self._window = ClientWindow()
        #: The highest number that is on the wire.
        self._sent = 0
        #: The number that a hole was reported for, or an event refused: what was sent behind it is
        #: on its way, and brings the same report again.
        self._hole: int | None = None

    @property
    def unaccepted(self) -> list[tuple[int, T]]:
        """What the server is not known to have, in order."""
        return list(self._unaccepted.items())

    @property
    def on_the_wire(self) -> int:
        """How many events were sent, and neither accepted nor refused."""
        return max(0, self._sent + 1 - (self._next - len(self._unaccepted)))

    def to_send(self) -> list[tuple[int, T]]:
        """What may be sent now, in order. From now on it is on the wire."""
        first = max(self._sent + 1, self._next - len(self._unaccepted))
        end = min(self._next, first + self._window.size - self.on_the_wire)
        self._sent = max(self._sent, end - 1)
        return [(n, self._unaccepted[n]) for n in range(first, end)]

    def refused(self, n: int, retry_after: float) -> float | None:
        """
        Event ``n`` was refused for now: the seconds until :meth:`to_send` may be asked again.

        None if it is not on the wire, but was sent behind one that was refused before.
        """
        if n not in self._unaccepted or n > self._sent:
            return None
        self.send_again(n)
        return self._window.refused(retry_after)

    def missing(self, n: int) -> bool:
        """The server misses event ``n``. Whether that is news, so that it is to be sent again."""
        if n == self._hole or n > self._sent:
            return False
        self.send_again(n)
        return True

    def send_again(self, n: int) -> None:
        """Event ``n`` and those behind it are not on the wire any more."""
        self._hole = n
        self._sent = n - 1

    def number(self, event: T) -> int:
        """The number of a new event."""
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
        A welcome came. True if what was applied so far must be cleared (a gap, or a new session).

        ``accepted`` is the welcome's ``received``, ``first`` the first entry that is kept. Numbers
        behind ``yours`` (by default all are the client's) were given to what came by HTTP.
        Nothing is on the wire, and ``window`` events may be.
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
        """Event ``n`` is stored as entry ``seq``."""
        self._accept_up_to(n)
        if seq == self.received + 1:
            self.received = seq

    def apply(self, seq: int, *, n: int | None = None) -> bool:
        """
        Whether entry ``seq`` is new and to be applied; false for a repeat.

        Raises ``ValueError`` for a hole: the connection is of no more use, come back and resume.
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

"""Positions, duplicates, gaps and windows: unit by unit, and together over a line that fails."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count as counting
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import UNSET, Raw

from chatsessions.exceptions import FrameError
from chatsessions.protocol import frames
from chatsessions.protocol.delivery import (
    ClientDelivery,
    Gate,
    Handled,
    Outbox,
    RateLimit,
    SendWindow,
)
from chatsessions.websocket.connection import FRAME_BURST, FRAMES_PER_SECOND

# What is handled


@given(st.permutations(range(1, 13)), st.integers(0, 12))
def test_handled_in_any_order(order: list[int], crash_after: int) -> None:
    """What is stored of it (a number and those ahead) tells all, at any moment."""
    handled = Handled()
    for count, n in enumerate(order, start=1):
        before = handled.ahead
        assert handled.add(n) is (handled.ahead != before)
        done = set(order[:count])
        assert {number for number in range(14) if number in handled} == done | {0}
        assert handled.up_to + handled.count_ahead == count
        assert not handled.add(n)
        if count == crash_after:
            handled = Handled(handled.up_to, handled.ahead)
    assert (handled.up_to, handled.ahead) == (12, [])


def test_however_many_overtake_little_is_stored_of_them() -> None:
    handled = Handled()
    for n in range(2, 100_000):
        handled.add(n)
    handled.add(100_001)
    assert handled.ahead == [2, -99_999, 100_001]
    assert handled.add(1)
    assert (handled.up_to, handled.ahead) == (99_999, [100_001])


def test_what_older_releases_have_stored_is_understood() -> None:
    """They stored each number."""
    handled = Handled(1, [3, 4, 5, 6, 9])
    assert (handled.count_ahead, handled.ahead) == (5, [3, -6, 9])


def test_all_are_handled_at_the_end() -> None:
    handled = Handled(3, [5, 7])
    assert handled.add_all(9)
    assert (handled.up_to, handled.ahead) == (9, [])
    assert not handled.add_all(9)


# Outbox


@given(st.lists(st.one_of(st.just("entry"), st.just("token"), st.just("store"))))
def test_no_token_is_ahead_of_the_entries_before_it(steps: list[str]) -> None:
    """Whatever is stored when, tokens leave in order and behind what they belong to."""
    outbox: Outbox[tuple[int, int]] = Outbox()
    head, made, left = 0, 0, []
    for step in steps:
        if step == "entry":
            head += 1
        elif step == "token":
            made += 1
            if not outbox.hold(head, (head, made)):
                left.append((head, made))
        elif outbox.stored < head:
            left += outbox.release(outbox.stored + 1)
        assert all(after <= outbox.stored for after, _ in left)
        assert [number for _, number in left] == list(range(1, len(left) + 1))
    while outbox.stored < head:
        left += outbox.release(outbox.stored + 1)
    assert len(left) == made


# SendWindow


@pytest.mark.parametrize(
    ("max_events", "max_bytes", "fits", "more"),
    [
        pytest.param(2, 1000, [10, 10], 10, id="entries"),
        pytest.param(10, 100, [60, 40], 1, id="bytes"),
        pytest.param(1, 100, [1_000_000], 1, id="one entry of any size fits"),
    ],
)
def test_a_window_is_full_beyond_its_entries_or_bytes(
    max_events: int, max_bytes: int, fits: list[int], more: int
) -> None:
    window = SendWindow(max_events=max_events, max_bytes=max_bytes)
    for seq, size in enumerate(fits, start=1):
        window.sent(seq, size)
    assert not window.full
    window.sent(len(fits) + 1, more)
    assert window.full


def test_an_acknowledgement_makes_room_up_to_its_entry() -> None:
    window = SendWindow(max_events=2, max_bytes=100)
    for seq in (1, 2, 3, 4):
        window.sent(seq, 30)
    window.ack(2)
    assert not window.full
    window.sent(5, 10)
    assert window.full
    window.ack(5)
    assert not window.half_full


def test_an_acknowledgement_that_comes_late_changes_nothing() -> None:
    window = SendWindow(max_events=2, max_bytes=100)
    for seq in (1, 2, 3):
        window.sent(seq, 10)
    window.ack(3)
    window.ack(1)
    assert not window.half_full


def test_a_replay_waits_at_half_the_window() -> None:
    window = SendWindow(max_events=4, max_bytes=100)
    window.sent(1, 10)
    window.sent(2, 10)
    assert not window.half_full
    window.sent(3, 10)
    assert window.half_full
    by_size = SendWindow(max_events=100, max_bytes=100)
    by_size.sent(1, 51)
    assert by_size.half_full


def test_tokens_have_a_window_of_their_own() -> None:
    window = SendWindow(max_events=1, max_bytes=100)
    window.volatile_bytes = 101
    assert window.volatile_full
    assert not window.full
    assert not window.half_full


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3)), max_size=40))
def test_a_client_that_acknowledged_everything_is_never_slow(steps: list[tuple[int, int]]) -> None:
    window = SendWindow(max_events=3, max_bytes=300)
    for seq, (size, behind) in enumerate(steps, start=1):
        window.sent(seq, size)
        window.ack(seq - behind)
        unacked = steps[seq - behind : seq] if behind else []
        if behind == 0:
            assert not window.full
            assert not window.half_full
        if len(unacked) > 3:
            assert window.full


# RateLimit


def test_a_bucket_gives_its_burst_at_once_and_then_makes_wait() -> None:
    limit = RateLimit(rate=2, burst=3, now=100.0)
    assert [limit.take(100.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert limit.take(100.0) == pytest.approx(0.5)


def test_a_bucket_refills_with_its_rate() -> None:
    limit = RateLimit(rate=2, burst=3, now=0.0)
    for _ in range(3):
        limit.take(0.0)
    assert limit.take(0.25) == pytest.approx(0.25)
    assert limit.take(0.5) == 0.0
    assert limit.take(0.5) > 0


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    limit = RateLimit(rate=10, burst=2, now=0.0)
    assert [limit.take(1000.0) for _ in range(3)] == [0.0, 0.0, pytest.approx(0.1)]


def test_being_refused_costs_nothing() -> None:
    limit = RateLimit(rate=1, burst=1, now=0.0)
    limit.take(0.0)
    waits = [limit.take(0.5) for _ in range(5)]
    assert waits == [pytest.approx(0.5)] * 5
    assert limit.take(1.0) == 0.0


@given(
    rate=st.floats(0.1, 100), burst=st.integers(1, 20), gaps=st.lists(st.floats(0, 3), max_size=60)
)
def test_no_more_than_burst_and_rate_allow_get_through(
    rate: float, burst: int, gaps: list[float]
) -> None:
    limit = RateLimit(rate=rate, burst=burst, now=50.0)
    now, allowed = 50.0, 0
    for gap in gaps:
        now += gap
        allowed += limit.take(now) == 0
    assert allowed <= burst + (now - 50.0) * rate + 1e-6


@given(rate=st.floats(0.1, 1000), start=st.floats(0, 1e6))
@example(rate=10.0, start=0.3)
def test_whoever_waits_as_long_as_the_bucket_says_is_let_through(rate: float, start: float) -> None:
    limit = RateLimit(rate=rate, burst=1, now=start)
    assert limit.take(start) == 0
    wait = limit.take(start)
    assume(start + wait - start >= wait)
    assert limit.take(start + wait) == 0


# Gate


def gate(
    *, accepted: int = 0, rate: float = 1.0, burst: int = 100, pending: int = 10, strikes: int = 2
) -> Gate:
    limit = RateLimit(rate=rate, burst=burst, now=0.0)
    return Gate(limit, max_pending=pending, max_strikes=strikes, accepted=accepted)


def admit(
    gate: Gate, n: int, *, now: float = 0.0, pending: int = 0, storing: bool = True
) -> tuple[str, int | None] | bool:
    """What becomes of event ``n``: taken, met before, or the refusal's code and number."""
    try:
        new = gate.admit(n, now=now, pending=pending, storing=storing)
    except FrameError as error:
        return error.code, error.n
    if new:
        gate.take(n, n, needed=n + 1)
    return new


def test_a_gate_remembers_the_entries_of_the_latest_events() -> None:
    limit = RateLimit(rate=1.0, burst=1, now=0.0)
    it = Gate(limit, max_pending=9, max_strikes=9, accepted=100, seqs_kept=3)
    for n in range(101, 106):
        it.take(n, 10 * n, needed=n + 1)
    assert [it.seq_of(n) for n in range(101, 107)] == [None, None, 1030, 1040, 1050, None]


@given(st.integers(0, 50), st.lists(st.integers(1, 60), max_size=80))
def test_a_gate_takes_each_number_once_and_in_order(accepted: int, numbers: list[int]) -> None:
    it = gate(accepted=accepted, rate=1e9)
    taken = [n for n in numbers if admit(it, n) is True]
    assert taken == list(range(accepted + 1, accepted + 1 + len(taken)))
    assert it.accepted == accepted + len(taken)


def refusal(gate: Gate, n: int, **kwargs: Any) -> FrameError:
    with pytest.raises(FrameError) as caught:
        gate.admit(n, **{"now": 0.0, "pending": 0, "storing": True, **kwargs})
    return caught.value


def test_a_hole_is_refused_with_the_number_that_is_expected() -> None:
    error = refusal(gate(accepted=4), 7)
    assert (error.code, error.n, error.retry_after) == ("n_gap", 5, None)
    assert "5" in error.detail
    assert "7" in error.detail


def test_too_many_waiting_events_are_refused_as_busy() -> None:
    it = gate(pending=2)
    assert it.admit(1, now=0.0, pending=1, storing=True)
    error = refusal(it, 1, pending=2)
    assert (error.code, error.n) == ("busy", 1)
    assert error.retry_after is not None
    assert error.retry_after > 0


def test_waiting_events_that_take_too_many_bytes_are_refused_as_busy() -> None:
    with pytest.raises(FrameError) as caught:
        gate().admit(1, now=0.0, pending=1, storing=True, crowded=True)
    assert caught.value.code == "busy"
    assert caught.value.retry_after is not None


def test_nothing_is_accepted_while_the_store_takes_nothing() -> None:
    error = refusal(gate(), 1, storing=False)
    assert (error.code, error.n) == ("storage_unavailable", 1)
    assert error.retry_after is not None


def test_events_beyond_the_rate_are_refused_with_the_time_to_wait() -> None:
    it = gate(rate=4.0, burst=1)
    assert admit(it, 1) is True
    error = refusal(it, 2)
    assert (error.code, error.n, error.retry_after) == ("rate_limited", 2, 0.25)


def test_a_repeat_is_answered_whatever_is_refused_now() -> None:
    it = gate(accepted=3, burst=1)
    admit(it, 4)
    assert admit(it, 5) == ("rate_limited", 5)
    assert it.admit(2, now=0.0, pending=99, storing=False) is False


def test_a_refused_event_was_not_taken() -> None:
    it = gate(burst=1, rate=1.0)
    admit(it, 1)
    assert admit(it, 2) == ("rate_limited", 2)
    assert it.accepted == 1
    assert admit(it, 2, now=1.0) is True


def test_being_refused_as_busy_takes_nothing_from_the_rate() -> None:
    it = gate(burst=1, rate=0.001, pending=1)
    for _ in range(5):
        assert admit(it, 1, pending=1) == ("busy", 1)
    assert admit(it, 1, pending=0) is True


def test_what_was_sent_behind_a_refused_event_shares_its_fate() -> None:
    """A client that sent several at once hears of its own pace, not of a hole."""
    it = gate(burst=1, rate=0.5)
    admit(it, 1)
    first = refusal(it, 2, now=0.0)
    second = refusal(it, 3, now=0.5)
    assert (first.code, first.n, first.retry_after) == ("rate_limited", 2, 2.0)
    assert (second.code, second.n, second.retry_after) == ("rate_limited", 3, 1.5)


def test_behind_an_old_refusal_a_hole_is_a_hole_again() -> None:
    it = gate(burst=1, rate=1.0)
    admit(it, 1)
    assert admit(it, 2, now=0.0) == ("rate_limited", 2)
    assert admit(it, 3, now=1.5) == ("n_gap", 2)


def test_behind_an_admitted_event_a_hole_is_a_hole_again() -> None:
    it = gate(pending=1)
    assert admit(it, 1, pending=1) == ("busy", 1)
    assert admit(it, 1, pending=0) is True
    assert admit(it, 3, pending=0) == ("n_gap", 2)


def test_a_client_that_does_not_wait_again_and_again_is_hammering() -> None:
    it = gate(burst=1, rate=0.01, strikes=2)
    admit(it, 1)
    for hammered in (False, False, True):
        assert admit(it, 2) == ("rate_limited", 2)
        assert it.is_hammered is hammered


def test_an_admitted_event_clears_the_strikes() -> None:
    it = gate(burst=1, rate=1.0, strikes=2)
    admit(it, 1)
    for start in (0.0, 1.0, 2.0):
        for _ in range(2):
            admit(it, it.accepted + 1, now=start)
        assert not it.is_hammered
        assert admit(it, it.accepted + 1, now=start + 1) is True


def test_who_comes_when_it_was_told_to_is_no_hammer_though_others_took_its_place() -> None:
    """What comes by HTTP is counted with it."""
    it = gate(burst=1, rate=1.0, strikes=2)
    for second in range(20):
        it.charge(1, now=float(second))
        assert admit(it, 1, now=float(second)) == ("rate_limited", 1)
        assert not it.is_hammered


def test_busy_and_failing_stores_are_no_strikes() -> None:
    it = gate(pending=1, strikes=0)
    for _ in range(10):
        admit(it, 1, pending=1)
        admit(it, 1, storing=False)
    assert not it.is_hammered


def test_a_burst_sent_at_once_is_one_strike() -> None:
    it = gate(burst=1, rate=1.0, strikes=1)
    for n in range(1, 20):
        admit(it, n)
    assert not it.is_hammered


@given(rate=st.floats(0.1, 500), start=st.floats(0, 1e5))
@example(rate=3.0, start=0.0)
def test_an_event_may_be_sent_again_after_its_retry_after(rate: float, start: float) -> None:
    it = Gate(RateLimit(rate=rate, burst=1, now=start), max_pending=9, max_strikes=9)
    assert admit(it, 1, now=start) is True
    wait = refusal(it, 2, now=start).retry_after
    assert wait is not None
    assume(start + wait - start >= wait)
    assert admit(it, 2, now=start + wait) is True


# ClientDelivery


def client(*events: str) -> ClientDelivery[str]:
    delivery: ClientDelivery[str] = ClientDelivery()
    for event in events:
        delivery.number(event)
    return delivery


def test_accepted_stands_for_its_entry() -> None:
    delivery = client("a")
    delivery.accepted(1, 1)
    assert delivery.received == 1
    assert not delivery.apply(1, n=1)


def test_a_repeated_accepted_changes_nothing() -> None:
    delivery = client("a")
    delivery.accepted(1, 1)
    delivery.apply(2)
    delivery.accepted(1, 1)
    assert delivery.received == 2
    assert delivery.unaccepted == []


def test_accepted_ahead_of_a_replay_leaves_no_hole() -> None:
    """It may answer a repeat while the entries before it are still to come."""
    delivery = client("a")
    delivery.accepted(1, 3)
    assert delivery.received == 0
    assert [delivery.apply(1), delivery.apply(2), delivery.apply(3, n=1)] == [True, True, True]


def test_accepted_as_an_entry_that_is_no_longer_kept() -> None:
    delivery = client("a")
    delivery.apply(1)
    delivery.accepted(1, 0)
    assert delivery.unaccepted == []
    assert delivery.received == 1


def test_a_hole_is_never_silent() -> None:
    delivery = client()
    delivery.apply(1)
    with pytest.raises(ValueError, match="entry 3 came after 1"):
        delivery.apply(3)
    assert delivery.received == 1
    assert delivery.apply(2)


def test_a_welcome_says_what_need_not_be_sent_again() -> None:
    delivery = client()
    delivery.welcomed(resumed=False, accepted=0, first=1)
    for event in "abc":
        delivery.number(event)
    assert not delivery.welcomed(resumed=True, accepted=2, first=1)
    assert delivery.unaccepted == [(3, "c")]
    assert delivery.number("d") == 4


def test_a_welcome_with_a_gap_clears_what_was_applied() -> None:
    delivery = client()
    delivery.apply(1)
    assert delivery.welcomed(resumed=True, accepted=0, first=5)
    assert delivery.received == 4
    assert delivery.apply(5)


@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_welcome_without_a_gap_keeps_what_was_applied(first: int) -> None:
    delivery = client()
    delivery.apply(1)
    delivery.apply(2)
    assert not delivery.welcomed(resumed=True, accepted=0, first=first)
    assert delivery.received == 2
    assert delivery.apply(3)


def test_in_a_new_session_what_is_left_is_numbered_from_1() -> None:
    delivery = client("a", "b", "c")
    delivery.accepted(1, 1)
    delivery.apply(2)
    assert delivery.welcomed(resumed=False, accepted=0, first=1)
    assert delivery.unaccepted == [(1, "b"), (2, "c")]
    assert delivery.number("d") == 3
    assert delivery.received == 0


def test_a_reloaded_page_goes_on_counting_where_the_session_is() -> None:
    """It knows nothing: received 0 asks for the whole log, and the welcome tells the number."""
    delivery = client()
    assert not delivery.welcomed(resumed=True, accepted=7, first=1)
    assert delivery.number("a") == 8


def test_a_page_that_meets_its_events_in_the_log_counts_on_from_them() -> None:
    delivery = client()
    delivery.welcomed(resumed=True, accepted=0, first=1)
    delivery.apply(1, n=1)
    delivery.apply(2, n=2)
    assert delivery.number("a") == 3


def test_what_is_typed_before_the_first_welcome_of_an_old_session_is_not_lost() -> None:
    """A reloaded page has sent nothing yet, so no number that is taken can be its own."""
    delivery = client("typed at once")
    delivery.welcomed(resumed=True, accepted=3, first=1)
    assert delivery.unaccepted == [(4, "typed at once")]


def test_numbers_that_were_taken_meanwhile_do_not_make_an_event_accepted() -> None:
    """By what came over HTTP: the client's own get new numbers, and none is lost."""
    delivery: ClientDelivery[str] = ClientDelivery()
    delivery.welcomed(resumed=False, accepted=0, first=1)
    for text in ("a", "b", "c"):
        delivery.number(text)
    assert not delivery.welcomed(resumed=True, accepted=4, first=1, yours=2)
    assert delivery.unaccepted == [(5, "c")]
    assert delivery.number("d") == 6
    assert delivery.apply(1, n=4)
    assert delivery.unaccepted == [(5, "c"), (6, "d")]


def test_a_client_with_nothing_left_goes_on_behind_the_numbers_that_were_taken() -> None:
    delivery: ClientDelivery[str] = ClientDelivery()
    delivery.welcomed(resumed=False, accepted=0, first=1)
    delivery.welcomed(resumed=True, accepted=4, first=1, yours=0)
    assert delivery.number("a") == 5


def test_a_client_has_no_more_on_the_wire_than_the_server_allows() -> None:
    delivery: ClientDelivery[int] = ClientDelivery()
    for number in range(10):
        delivery.number(number)
    delivery.welcomed(resumed=False, accepted=0, first=1, window=3)
    assert [n for n, _ in delivery.to_send()] == [1, 2, 3]
    assert delivery.to_send() == []
    delivery.accepted(2, 2)
    assert [n for n, _ in delivery.to_send()] == [4, 5]


def test_a_refused_event_is_sent_again_alone_and_the_others_behind_it_as_room_comes() -> None:
    delivery = client("a", "b", "c")
    assert [n for n, _ in delivery.to_send()] == [1, 2, 3]
    assert delivery.refused(1, 0.5) == 0.5
    assert delivery.refused(2, 0.4) is None, "it was sent behind the refused one"
    assert not delivery.missing(1), "this is said of those that were sent behind it, too"
    assert delivery.to_send() == [(1, "a")]
    assert delivery.to_send() == []
    delivery.accepted(1, 1)
    assert delivery.to_send() == [(2, "b")]


def test_a_hole_is_filled_once_however_often_it_is_reported() -> None:
    delivery = client("a", "b", "c")
    delivery.to_send()
    assert delivery.missing(1)
    assert [n for n, _ in delivery.to_send()] == [1, 2, 3]
    assert not delivery.missing(1)
    assert delivery.to_send() == []


@dataclass
class Clockwork:
    """A client that does as it is told and a gate, with a clock of their own between them."""

    gate: Gate
    latency: float
    handling: float
    max_pending: int
    #: Of frames of any kind: beyond it a client is taken for a flood.
    pace: RateLimit
    delivery: ClientDelivery[int] = field(default_factory=ClientDelivery)
    now: float = 0.0
    due: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    order: Iterator[int] = field(default_factory=counting)
    sent: int = 0
    most: int = 0
    paused: bool = False
    taken: list[int] = field(default_factory=list)
    turns: deque[int] = field(default_factory=deque)

    def later(self, delay: float, call: Callable[[], None]) -> None:
        heappush(self.due, (self.now + delay, next(self.order), call))

    def run(self, events: int) -> None:
        for number in range(events):
            self.delivery.number(number)
        self.delivery.welcomed(resumed=False, accepted=0, first=1, window=self.max_pending)
        self.pump()
        while self.due:
            self.now, _, call = heappop(self.due)
            call()

    def pump(self) -> None:
        if self.paused:
            return
        for n, number in self.delivery.to_send():
            self.sent += 1
            self.later(self.latency, partial(self.arrive, n, number))
        self.most = max(self.most, self.delivery.on_the_wire)

    def arrive(self, n: int, number: int) -> None:
        assert self.pace.take(self.now) == 0, "the server takes it for a flood"
        try:
            assert self.gate.admit(n, now=self.now, pending=len(self.turns), storing=True)
        except FrameError as error:
            assert not self.gate.is_hammered, "the server closes the line"
            self.later(self.latency, partial(self.refused, error))
            return
        self.gate.take(n, n, needed=n + 1)
        self.taken.append(number)
        self.turns.append(n)
        if len(self.turns) == 1:
            self.later(self.handling, self.handled)
        self.later(self.latency, partial(self.accepted, n))

    def handled(self) -> None:
        self.turns.popleft()
        if self.turns:
            self.later(self.handling, self.handled)

    def accepted(self, n: int) -> None:
        self.delivery.accepted(n, n)
        self.pump()

    def refused(self, error: FrameError) -> None:
        assert error.n is not None
        if error.code == "n_gap":
            self.delivery.missing(error.n)
        else:
            assert error.retry_after is not None
            wait = self.delivery.refused(error.n, error.retry_after)
            if wait is not None:
                self.paused = True
                self.later(wait, self.go_on)
        self.pump()

    def go_on(self) -> None:
        self.paused = False
        self.pump()


def clockwork(
    *, rate: float, burst: int, pending: int, latency: float, handling: float
) -> Clockwork:
    limit = RateLimit(rate=rate, burst=burst, now=0.0)
    it = Gate(limit, max_pending=pending, max_strikes=10)
    # As a connection has it.
    pace = RateLimit(
        rate=max(FRAMES_PER_SECOND, 2 * rate),
        burst=max(FRAME_BURST, 2 * burst, 2 * pending),
        now=0.0,
    )
    return Clockwork(it, latency, handling, pending, pace)


@pytest.mark.parametrize(
    ("latency", "handling"), [(0.00001, 0.00001), (0.001, 0.2), (0.05, 0.002), (0.5, 0.00001)]
)
@pytest.mark.parametrize(
    ("rate", "burst", "pending"),
    [
        pytest.param(20.0, 100, 100, id="default"),
        pytest.param(1000.0, 100, 100, id="fast"),
        pytest.param(1e6, 10**6, 1000, id="generous"),
    ],
)
def test_ten_thousand_events_at_once_arrive_in_order_whatever_the_speed_and_the_limits(
    rate: float, burst: int, pending: int, latency: float, handling: float
) -> None:
    it = clockwork(rate=rate, burst=burst, pending=pending, latency=latency, handling=handling)
    it.run(10_000)
    assert it.taken == list(range(10_000))
    assert it.delivery.unaccepted == []
    assert it.sent <= 15_000
    assert it.most <= pending


@given(
    rate=st.floats(0.5, 1e4),
    burst=st.integers(1, 300),
    pending=st.integers(1, 300),
    latency=st.floats(0, 2),
    handling=st.floats(1e-5, 3),
)
@settings(max_examples=100)
def test_a_client_that_does_as_it_is_told_is_never_closed(
    rate: float, burst: int, pending: int, latency: float, handling: float
) -> None:
    it = clockwork(rate=rate, burst=burst, pending=pending, latency=latency, handling=handling)
    it.run(300)
    assert it.taken == list(range(300))
    assert it.most <= pending


# All of it together, over a line that fails and with a server that crashes


@dataclass(frozen=True, kw_only=True)
class Entry:
    seq: int
    n: int | None
    text: str

    @property
    def is_events(self) -> bool:
        return self.n is not None


@dataclass(frozen=True, kw_only=True)
class Change:
    """What one commit makes durable, and what may be told after it."""

    entries: tuple[Entry, ...]
    accepted: int
    running: int | None
    outcomes: tuple[tuple[int, str], ...]
    first: int
    frames: tuple[frames.ServerFrame, ...]
    greets: Line | None


@dataclass
class Disk:
    """What survives a crash. ``log`` is all that was ever stored; it is kept from ``first`` on."""

    log: list[Entry] = field(default_factory=list)
    first: int = 1
    accepted: int = 0
    running: int | None = None
    outcomes: dict[int, str] = field(default_factory=dict)

    @property
    def head(self) -> int:
        return len(self.log)

    @property
    def kept(self) -> list[Entry]:
        return self.log[self.first - 1 :]

    def store(self, change: Change) -> None:
        for entry in change.entries:
            assert entry.seq == self.head + 1, "the log has no holes"
            self.log.append(entry)
        for n, outcome in change.outcomes:
            assert n not in self.outcomes, "an event has one outcome"
            self.outcomes[n] = outcome
        self.accepted, self.running, self.first = change.accepted, change.running, change.first


@dataclass(eq=False)
class Line:
    """One connection: two queues, each in order."""

    up: deque[frames.ClientFrame] = field(default_factory=deque)
    down: deque[frames.ServerFrame] = field(default_factory=deque)
    #: Whether a frame was lost in the middle.
    torn: bool = False


class Server:
    """One session's owner, made of the units as the real one is. All but ``disk`` is lost."""

    WINDOW = 4
    REPLAY = 2

    def __init__(self, disk: Disk, now: float) -> None:
        self.disk = disk
        self.head = disk.head
        self.first = disk.first
        self.running: int | None = None
        limit = RateLimit(rate=2.0, burst=3, now=now)
        # Few entries are remembered, so that a repeat of an older event has to be looked up; but
        # all that can be waiting for the store.
        self.gate = Gate(
            limit, max_pending=3, max_strikes=10**9, accepted=disk.accepted, seqs_kept=4
        )
        self.outbox: Outbox[frames.ServerFrame] = Outbox(disk.head)
        self.storing = True
        self.entries: list[Entry] = []
        self.outcomes: list[tuple[int, str]] = []
        self.then: list[frames.ServerFrame] = []
        self.batch: Change | None = None
        self.stored_batch: Change | None = None
        self.line: Line | None = None
        #: The line that is greeted by what is stored next.
        self.arriving: Line | None = None
        self.welcomed = self.caught_up = False
        self.position = 0
        self.window = SendWindow(max_events=self.WINDOW, max_bytes=10_000)
        #: The turn that begins when that is stored.
        self.starting: int | None = None
        waiting = [n for n in range(1, disk.accepted + 1) if n not in disk.outcomes]
        self.queue: deque[int] = deque(waiting)
        if disk.running is not None:
            assert self.queue.popleft() == disk.running, "turns run in the order of n"
            self.append(f"interrupted {disk.running}")
            self.end_turn(disk.running, "interrupted")

    # The log and its commits

    def append(self, text: str, *, n: int | None = None) -> int:
        self.head += 1
        self.entries.append(Entry(seq=self.head, n=n, text=text))
        return self.head

    def gather(self) -> None:
        assert self.batch is None
        self.batch = Change(
            entries=tuple(self.entries),
            accepted=self.gate.accepted,
            running=self.starting if self.running is None else self.running,
            outcomes=tuple(self.outcomes),
            first=self.first,
            frames=tuple(self.then),
            greets=self.arriving,
        )
        self.entries, self.outcomes, self.then, self.arriving = [], [], [], None

    def store(self) -> None:
        assert self.batch is not None
        self.disk.store(self.batch)
        self.stored_batch, self.batch = self.batch, None

    def tell(self) -> None:
        """The commit is known to be stored: everything that waited for it may leave."""
        change, self.stored_batch = self.stored_batch, None
        assert change is not None
        for entry in change.entries:
            if self.caught_up:
                self.send_entry(entry, live=True)
            for frame in self.outbox.release(entry.seq):
                self.send_token(frame)
        self.outbox.release(self.stored)
        for frame in change.frames:
            self.send(frame)
        if change.greets is not None and change.greets is self.line:
            self.welcome()
        if change.running is not None and change.running == self.starting:
            self.running, self.starting = self.starting, None
            self.send(frames.TurnStatus(self.running, "message", "running"))

    @property
    def has_news(self) -> bool:
        """Whether there is something to store or to tell."""
        gathered = bool(self.entries or self.outcomes or self.then or self.arriving)
        committing = self.batch is not None or self.stored_batch is not None
        return gathered or committing or self.starting is not None or self.first > self.disk.first

    def commit(self) -> None:
        """All of one commit, or what is left of it."""
        if self.stored_batch is None:
            if self.batch is None:
                self.gather()
            self.store()
        self.tell()

    @property
    def stored(self) -> int:
        """The head of what is known to be stored."""
        return self.disk.head - (len(self.stored_batch.entries) if self.stored_batch else 0)

    # Turns

    @property
    def idle(self) -> bool:
        return self.running is None and self.starting is None

    def next_turn(self) -> None:
        self.starting = self.queue.popleft()

    def end_turn(self, n: int, outcome: str) -> None:
        self.running = None
        self.outcomes.append((n, outcome))
        self.then.append(frames.TurnStatus(n, "message", outcome))

    def emit_token(self, number: int) -> None:
        """A volatile frame; its text is the entry behind which it belongs."""
        frame = frames.Token("m", number, str(self.head))
        if not self.outbox.hold(self.head, frame):
            self.send_token(frame)

    # The connection

    def hello(self, line: Line, received: int) -> None:
        self.line = self.arriving = line
        self.welcomed = self.caught_up = False
        self.position = received
        self.window = SendWindow(max_events=self.WINDOW, max_bytes=10_000)

    def welcome(self) -> None:
        self.welcomed = True
        assert self.disk.accepted == self.gate.accepted, "all from older lines is stored"
        self.position = min(max(self.position, self.disk.first - 1), self.stored)
        welcome = frames.Welcome(
            session="s",
            token="t",
            resumed=True,
            reason=None,
            received=self.disk.accepted,
            first=self.disk.first,
            head=self.stored,
            turn=self.running,
            heartbeat=20.0,
            max_frame=100_000,
        )
        self.send(welcome)
        self.caught_up = self.position == self.stored

    @property
    def replaying(self) -> bool:
        return self.welcomed and not self.caught_up

    def replay(self) -> None:
        """One chunk of the stored log, as far as the client keeps up."""
        if self.position < self.disk.first - 1:
            self.hang_up()  # trimmed meanwhile: only a new welcome can tell of the gap
            return
        for entry in self.disk.log[self.position : min(self.position + self.REPLAY, self.stored)]:
            if self.window.half_full:
                return
            self.send_entry(entry, live=False)
        self.caught_up = self.position == self.stored

    def send_entry(self, entry: Entry, *, live: bool) -> None:
        assert entry.seq == self.position + 1
        self.position = entry.seq
        self.window.sent(entry.seq, len(entry.text))
        if live and entry.n is not None:
            self.send(frames.Accepted(entry.n, entry.seq))
        else:
            n: Any = UNSET if entry.n is None else entry.n
            self.send(frames.ServerEvent(entry.seq, "message", Raw(entry.text.encode()), n=n))
        if live and self.window.full:
            self.hang_up()

    def send_token(self, frame: frames.ServerFrame) -> None:
        if self.caught_up:
            self.send(frame)

    def send(self, frame: frames.ServerFrame) -> None:
        if self.line is not None and self.welcomed:
            self.line.down.append(frame)

    def hang_up(self) -> None:
        self.line = self.arriving = None
        self.welcomed = self.caught_up = False

    def receive(self, frame: frames.ClientFrame, now: float) -> None:
        if isinstance(frame, frames.Ack):
            self.window.ack(frame.seq)
        elif isinstance(frame, frames.ClientEvent):
            self.receive_event(frame, now)

    def receive_event(self, event: frames.ClientEvent, now: float) -> None:
        pending = len(self.queue)
        try:
            new = self.gate.admit(event.n, now=now, pending=pending, storing=self.storing)
        except FrameError as error:
            self.send(
                frames.Error(error.code, error.detail, n=UNSET if error.n is None else error.n)
            )
            return
        if new:
            seq = self.append(bytes(event.data).decode(), n=event.n)
            self.gate.take(event.n, seq, needed=event.n + 1)
            self.queue.append(event.n)
        else:
            self.answer_repeat(event.n)

    def answer_repeat(self, n: int) -> None:
        seq = self.gate.seq_of(n)
        if seq is None:
            assert n <= self.disk.accepted, "what is forgotten is stored"
            kept = [entry.seq for entry in self.disk.kept if entry.n == n]
            self.send(frames.Accepted(n, kept[0] if kept else 0))
        elif seq <= self.stored:
            self.send(frames.Accepted(n, seq))


class Client:
    """A page: what it shows is what it has applied."""

    def __init__(self) -> None:
        self.delivery: ClientDelivery[str] = ClientDelivery()
        self.numbered: dict[int, str] = {}
        self.shown: list[Entry] = []
        self.shown_from = 1
        self.statuses: dict[int, str] = {}
        self.line: Line | None = None
        self.welcomed = False
        self.knows_its_number = True

    def say(self, text: str) -> None:
        n = self.delivery.number(text)
        self.numbered[n] = text
        if self.welcomed:
            self.send(n, text)

    def send(self, n: int, text: str) -> None:
        if self.line is not None:
            self.line.up.append(frames.ClientEvent(n, "message", Raw(text.encode())))

    def resend(self, *, start: int = 0) -> None:
        for n, text in self.delivery.unaccepted:
            if n >= start:
                self.send(n, text)

    def connect(self) -> None:
        self.leave()
        self.line = Line()
        self.line.up.append(frames.Hello("s", "t", self.delivery.received))

    def leave(self) -> None:
        self.line = None
        self.welcomed = False

    def receive(self, frame: frames.ServerFrame) -> None:
        match frame:
            case frames.Welcome():
                self.greeted(frame)
            case frames.ServerEvent(seq=seq, data=data):
                n = None if frame.n is UNSET else frame.n
                try:
                    if self.delivery.apply(seq, n=n):
                        self.show(Entry(seq=seq, n=n, text=bytes(data).decode()))
                except ValueError:
                    self.leave()
            case frames.Accepted(n=n, seq=seq):
                before = self.delivery.received
                self.delivery.accepted(n, seq)
                if self.delivery.received > before:
                    self.show(Entry(seq=seq, n=n, text=self.numbered[n]))
            case frames.TurnStatus(turn=turn, status=status):
                self.statuses[turn] = status
            case frames.Error(code="n_gap", n=int(n)):
                self.resend(start=n)
            case _:
                pass

    def greeted(self, welcome: frames.Welcome) -> None:
        cleared = self.delivery.welcomed(
            resumed=welcome.resumed, accepted=welcome.received, first=welcome.first
        )
        if cleared:
            self.shown = []
            self.shown_from = self.delivery.received + 1
        self.welcomed = self.knows_its_number = True
        self.resend()

    def show(self, entry: Entry) -> None:
        self.shown.append(entry)


STEPS = (
    *("say", "say", "connect", "deliver_up", "deliver_up", "deliver_down", "deliver_down"),
    *(
        "acknowledge",
        "notice_a_close",
        "next_turn",
        "emit",
        "emit",
        "stream",
        "end_turn",
        "tell_all",
    ),
    *("gather", "store", "tell", "commit", "commit", "commit", "replay"),
)
#: What goes on before something goes wrong.
before = st.lists(st.sampled_from(STEPS), max_size=15)


class LossyConversation(RuleBasedStateMachine):
    """A client, a line that loses and delays, and a server that crashes."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.disk = Disk()
        self.server = Server(self.disk, self.now)
        self.client = Client()
        self.said: list[str] = []
        #: What a page that was reloaded had said and not heard of: stored once, or never.
        self.abandoned: set[str] = set()
        self.tokens = 0
        #: Lines that the client has left and that the server still reads.
        self.old_lines: list[Line] = []

    # What goes on by itself, in any order

    @initialize(times=st.integers(0, 5))
    def begin(self, times: int) -> None:
        self.go_on_smoothly(times)

    @rule(steps=before)
    def go_on(self, steps: list[str]) -> None:
        for step in steps:
            getattr(self, step)()

    @rule(times=st.integers(1, 4))
    def go_on_smoothly(self, times: int) -> None:
        """For a while, nothing goes wrong."""
        for _ in range(times):
            self.say()
            self.step()

    @precondition(lambda self: self.server.running is not None)
    @rule(steps=st.lists(st.sampled_from(["emit", "stream", "commit"]), min_size=1, max_size=8))
    def answer(self, steps: list[str]) -> None:
        for step in steps:
            getattr(self, step)()

    def say(self) -> None:
        if self.client.knows_its_number:
            text = f"event {len(self.said) + 1}"
            self.said.append(text)
            self.client.say(text)

    def connect(self) -> None:
        if self.client.line is None:
            self.client.connect()

    def acknowledge(self) -> None:
        if self.client.welcomed and self.client.line is not None:
            self.client.line.up.append(frames.Ack(self.client.delivery.received))

    def notice_a_close(self) -> None:
        if self.is_hung_up:
            self.client.leave()

    def deliver_up(self) -> None:
        line = self.client.line
        for _ in range(3):
            if line is not None and line.up:
                self.to_server(line, line.up.popleft())

    def deliver_down(self) -> None:
        line = self.client.line
        for _ in range(3):
            if line is not None and line is self.client.line and line.down:
                self.to_client(line.down.popleft(), torn=line.torn)

    def next_turn(self) -> None:
        if self.server.queue and self.server.idle:
            self.server.next_turn()

    def emit(self) -> None:
        if self.server.running is not None:
            self.server.append(f"answer to {self.server.running}")

    def tell_all(self) -> None:
        """Something comes from outside of any turn."""
        self.server.append("news")
        self.commit()

    def stream(self) -> None:
        if self.server.running is not None:
            self.tokens += 1
            self.server.emit_token(self.tokens)

    def end_turn(self) -> None:
        if self.server.running is not None:
            self.server.end_turn(self.server.running, "done")

    def gather(self) -> None:
        if self.server.batch is None and self.server.stored_batch is None:
            self.server.gather()

    def store(self) -> None:
        if self.server.batch is not None:
            self.server.store()

    def tell(self) -> None:
        if self.server.stored_batch is not None:
            self.server.tell()
            self.what_is_shown_is_what_is_stored()

    def commit(self) -> None:
        self.server.commit()
        self.what_is_shown_is_what_is_stored()

    def replay(self) -> None:
        if self.server.replaying:
            self.server.replay()

    # What goes wrong

    @rule(steps=before)
    def resend(self, steps: list[str]) -> None:
        """Five seconds without ``accepted``."""
        self.go_on(steps)
        if self.client.welcomed:
            self.client.resend()

    @rule(steps=before, up=st.booleans(), at=st.integers(0, 5), after=before)
    def drop(self, steps: list[str], *, up: bool, at: int, after: list[str]) -> None:
        """One frame is lost in the middle, as between two workers."""
        self.go_on([*steps, "tell_all"])
        line = self.client.line
        queue: deque[Any] = deque() if line is None else line.up if up else line.down
        if line is not None and queue:
            del queue[at % len(queue)]
            line.torn = True
        self.go_on([*after, "tell_all", "deliver_down"])

    @rule(steps=before, arrive=st.integers(0, 3))
    def cut(self, steps: list[str], arrive: int) -> None:
        """The line breaks. The first few frames on their way up may arrive all the same."""
        self.go_on(steps)
        line = self.client.line
        if line is not None:
            while len(line.up) > arrive:
                line.up.pop()
            self.old_lines.append(line)
        self.client.leave()

    @precondition(lambda self: self.old_lines)
    @rule(steps=before)
    def late_frame(self, steps: list[str]) -> None:
        self.go_on(steps)
        if self.old_lines and self.old_lines[0].up:
            self.to_server(self.old_lines[0], self.old_lines[0].up.popleft())
        else:
            self.old_lines = self.old_lines[1:]

    @rule(steps=before, arrive=st.integers(0, 3))
    def reload(self, steps: list[str], arrive: int) -> None:
        """The page forgets everything but the session."""
        self.cut(steps, arrive)
        if self.client.delivery.received > 0:
            self.abandoned |= {text for _, text in self.client.delivery.unaccepted}
            self.client = Client()
            self.client.knows_its_number = False

    @rule(steps=before, share=st.floats(0, 1))
    def trim(self, steps: list[str], share: float) -> None:
        """The older part of the log is no longer kept."""
        self.go_on(steps)
        kept = self.disk.head + 1 - self.server.first
        self.server.first += round(kept * share)

    @rule(steps=before)
    def store_falters(self, steps: list[str]) -> None:
        self.server.storing = False
        self.go_on(steps)
        self.server.storing = True

    @rule(steps=before)
    def crash(self, steps: list[str]) -> None:
        """What is not stored is lost; what is stored and was not told yet is not."""
        self.go_on(steps)
        self.old_lines = []
        self.client.leave()
        self.server = Server(self.disk, self.now)

    @rule(seconds=st.floats(0.1, 2))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    # Frames

    @property
    def is_hung_up(self) -> bool:
        """Whether the server has closed the client's line, and all before that has arrived."""
        line = self.client.line
        if line is None or line is self.server.line or line.down:
            return False
        return not any(isinstance(frame, frames.Hello) for frame in line.up)

    def to_server(self, line: Line, frame: frames.ClientFrame) -> None:
        if isinstance(frame, frames.Hello):
            self.server.hello(line, frame.received)
            if line is self.client.line:
                self.old_lines = []
        elif line is self.server.line:
            self.server.receive(frame, self.now)

    def to_client(self, frame: frames.ServerFrame, *, torn: bool) -> None:
        if isinstance(frame, frames.Token):
            after = int(frame.text)
            assert after <= self.disk.head, "a token was seen before its entries were stored"
            assert torn or after <= self.client.delivery.received, "a token overtook an entry"
        self.client.receive(frame)

    # What always holds

    @invariant()
    def what_is_shown_is_what_is_stored(self) -> None:
        """No hole, no repeat, and nothing that a crash has undone."""
        shown, start = self.client.shown, self.client.shown_from
        assert shown == self.disk.log[start - 1 : start - 1 + len(shown)]
        assert self.client.delivery.received == start - 1 + len(shown)

    @invariant()
    def what_passes_for_accepted_is_stored(self) -> None:
        waiting = {text for _, text in self.client.delivery.unaccepted}
        stored = {entry.text for entry in self.disk.log if entry.is_events}
        assert set(self.said) - waiting - self.abandoned <= stored

    @invariant()
    def events_are_stored_once_and_in_order(self) -> None:
        events = [entry for entry in self.disk.log if entry.is_events]
        assert [event.n for event in events] == list(range(1, self.disk.accepted + 1))
        stored = [event.text for event in events]
        assert stored == [text for text in self.said if text in set(stored)]

    @invariant()
    def outcomes_are_of_accepted_events_in_order(self) -> None:
        assert list(self.disk.outcomes) == list(range(1, len(self.disk.outcomes) + 1))
        assert len(self.disk.outcomes) <= self.disk.accepted

    @invariant()
    def an_outcome_that_was_told_is_stored(self) -> None:
        for n, status in self.client.statuses.items():
            if status != "running":
                assert self.disk.outcomes[n] == status

    # The end

    def teardown(self) -> None:
        """The line is repaired: everything that was said is stored once, and shown."""
        self.server.storing = True
        self.old_lines = []
        self.client.leave()
        for _ in range(2000):
            if not self.step():
                break
        else:
            pytest.fail("the conversation does not come to rest")
        assert self.client.delivery.unaccepted == []
        stored = [entry.text for entry in self.disk.log if entry.is_events]
        expected = [t for t in self.said if t not in self.abandoned or t in set(stored)]
        assert stored == expected
        assert set(self.disk.outcomes) == set(range(1, len(stored) + 1))
        assert self.client.delivery.received == self.disk.head
        assert self.client.shown == self.disk.log[self.client.shown_from - 1 :]

    def step(self) -> bool:
        """Do all that can be done now; whether there was anything."""
        moves = list(self.moves())
        if not moves and self.client.delivery.unaccepted:
            self.now += 5.0
            self.client.resend()
            return True
        return bool(moves)

    def moves(self) -> Iterator[str]:
        server, client = self.server, self.client
        self.now += 0.5
        if client.line is None:
            yield "connect"
            client.connect()
        while client.line is not None and client.line.up:
            yield "up"
            self.to_server(client.line, client.line.up.popleft())
        if server.queue and server.idle:
            yield "turn"
            server.next_turn()
        elif server.running is not None:
            yield "end"
            self.emit()
            self.stream()
            server.end_turn(server.running, "done")
        if server.has_news:
            yield "commit"
            self.commit()
        if server.replaying:
            yield "replay"
            server.replay()
        if self.is_hung_up:
            yield "hung up"
            client.leave()
        while client.line is not None and client.line.down:
            yield "down"
            self.to_client(client.line.down.popleft(), torn=client.line.torn)
            if client.line is not None and client.welcomed:
                client.line.up.append(frames.Ack(client.delivery.received))


LossyConversation.TestCase.settings = settings(
    max_examples=75,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestLossyConversation = LossyConversation.TestCase

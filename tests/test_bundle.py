"""Frames that leave together: what is gathered, when it leaves, and what may wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from chatsessions.workers.batcher import (
    ALONG,
    MAX_SIZE,
    BatchTimer,
    FrameBatcher,
)

from .support.sessions import until

if TYPE_CHECKING:
    from pytest_django import Settings


class Wire(list[str]):
    """The messages that were sent."""

    def __init__(self) -> None:
        self.bundle = FrameBatcher(BatchTimer(asyncio.get_running_loop()), self.append)


@pytest.fixture
async def wire() -> Wire:
    return Wire()


async def test_frames_of_the_same_moment_are_one_message(wire: Wire) -> None:
    for frame in ('{"a":1}', '{"b":2}', '{"c":3}'):
        wire.bundle.add(frame)
    assert wire == []
    await asyncio.sleep(0)
    assert wire == ['[{"a":1},{"b":2},{"c":3}]']


async def test_a_frame_alone_is_as_it_is(wire: Wire) -> None:
    wire.bundle.add('{"a":1}')
    await asyncio.sleep(0)
    assert wire == ['{"a":1}']


async def test_frames_of_two_moments_are_two_messages(wire: Wire) -> None:
    for frame in "ab":
        wire.bundle.add(frame)
        await asyncio.sleep(0)
    assert wire == ["a", "b"]


async def test_what_has_left_leaves_nothing_for_later(wire: Wire) -> None:
    wire.bundle.add("a")
    wire.bundle.send_now()
    assert wire == ["a"]
    await asyncio.sleep(0)
    wire.bundle.send_now()
    assert wire == ["a"]


async def test_a_bundle_is_bounded(wire: Wire) -> None:
    """A megabyte in one message would show nothing until all of it is there."""
    frame = "x" * (MAX_SIZE // 4)
    for _ in range(12):
        wire.bundle.add(frame)
    await asyncio.sleep(0)
    assert sum(text.count("x") for text in wire) == 12 * len(frame)
    assert len(wire) == 3
    assert max(map(len, wire)) < MAX_SIZE + 10


async def test_a_large_frame_takes_none_of_those_before_it_along(wire: Wire) -> None:
    """Together they would be more than a server sends, however often the client came back."""
    small, large = "s" * (MAX_SIZE - 10), "l" * 15 * MAX_SIZE
    for frame in (small, large, small):
        wire.bundle.add(frame)
    await asyncio.sleep(0)
    assert wire == [small, large, small]


async def test_what_can_wait_does_not_when_nothing_has_left_lately(wire: Wire) -> None:
    wire.bundle.add("a", can_wait=True)
    await asyncio.sleep(0)
    assert wire == ["a"]


async def test_what_can_wait_is_gathered_for_the_interval(wire: Wire, settings: Settings) -> None:
    settings.CHATSESSIONS = {"TOKEN_INTERVAL": 0.2}
    for number in range(5):
        wire.bundle.add(str(number), can_wait=True)
        await asyncio.sleep(0)
    await until(lambda: len(wire) == 2)
    assert wire == ["0", "[1,2,3,4]"]


async def test_what_cannot_wait_takes_along_what_does(wire: Wire, settings: Settings) -> None:
    settings.CHATSESSIONS = {"TOKEN_INTERVAL": 1}
    wire.bundle.add("0")
    await asyncio.sleep(0)
    wire.bundle.add("1", can_wait=True)
    await asyncio.sleep(0)
    assert wire == ["0"]
    wire.bundle.add("2")
    await asyncio.sleep(0)
    assert wire == ["0", "[1,2]"]


async def test_what_comes_behind_one_that_cannot_wait_leaves_with_it(
    wire: Wire, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"TOKEN_INTERVAL": 1}
    wire.bundle.add("0")
    await asyncio.sleep(0)
    wire.bundle.add("1")
    wire.bundle.add("2", can_wait=True)
    await asyncio.sleep(0)
    assert wire == ["0", "[1,2]"]


async def test_what_goes_along_leaves_with_the_next(wire: Wire) -> None:
    for frame in "ab":
        wire.bundle.add_along(frame)
        await asyncio.sleep(0)
    assert wire == []
    wire.bundle.add("c")
    await asyncio.sleep(0)
    assert wire == ["[a,b,c]"]


async def test_what_goes_along_leaves_by_itself_if_nothing_comes(wire: Wire) -> None:
    for frame in "ab":
        wire.bundle.add_along(frame)
    await until(lambda: wire == ["[a,b]"])
    wire.bundle.add_along("c")  # once more, from the beginning
    assert wire == ["[a,b]"]
    await until(lambda: wire == ["[a,b]", "c"])


async def test_what_has_gone_along_is_not_waited_for(wire: Wire) -> None:
    """The next that goes along has the whole time for itself."""
    loop = asyncio.get_running_loop()
    wire.bundle.add_along("a")
    wire.bundle.add("b")
    await asyncio.sleep(ALONG * 0.8)
    assert wire == ["[a,b]"]
    started = loop.time()
    wire.bundle.add_along("c")
    await until(lambda: len(wire) == 2)
    assert loop.time() - started > ALONG * 0.9


async def test_what_goes_along_leaves_with_a_token(wire: Wire) -> None:
    """The first token of an answer is not kept waiting for a receipt's sake."""
    wire.bundle.add_along("a")
    wire.bundle.add("t", can_wait=True)
    await asyncio.sleep(0)
    assert wire == ["[a,t]"]


async def test_connections_wait_by_one_timer() -> None:
    loop = asyncio.get_running_loop()
    batches = BatchTimer(loop)
    sent: list[str] = []
    timers: list[float] = []
    call_at = loop.call_at

    def counted(when: float, *args: Any, **options: Any) -> asyncio.TimerHandle:
        timers.append(when)
        return call_at(when, *args, **options)

    try:
        loop.call_at = counted  # type: ignore[method-assign]
        for name in "abc":
            FrameBatcher(batches, sent.append).add_along(name)
            await asyncio.sleep(0)
    finally:
        loop.call_at = call_at  # type: ignore[method-assign]
    assert len(timers) == 1
    await until(lambda: sent == ["a", "b", "c"])


async def test_a_departure_that_causes_another_needs_no_second_timer() -> None:
    loop = asyncio.get_running_loop()
    batches = BatchTimer(loop)
    sent: list[str] = []
    other = FrameBatcher(batches, sent.append)
    FrameBatcher(batches, lambda _text: other.add_along("b")).add_along("a")
    await until(lambda: other.waits_until)
    timers = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    assert sum(handle._callback == batches._send_overdue for handle in timers) == 1
    await until(lambda: sent == ["b"])


async def test_what_was_cleared_never_leaves(wire: Wire) -> None:
    wire.bundle.add("a")
    wire.bundle.clear()
    await asyncio.sleep(0)
    assert wire == []
    wire.bundle.add("b")
    await asyncio.sleep(0)
    assert wire == ["b"]


async def test_bundles_of_many_connections_leave_by_one_callback() -> None:
    loop = asyncio.get_running_loop()
    batches = BatchTimer(loop)
    sent: list[str] = []
    for name in "abc":
        bundle = FrameBatcher(batches, sent.append)
        bundle.add(name)
        bundle.add(name.upper())
    called: list[object] = []
    call_soon = loop.call_soon
    try:
        loop.call_soon = called.append  # type: ignore[assignment]
        bundle.add("d")
    finally:
        loop.call_soon = call_soon  # type: ignore[method-assign]
    assert called == []
    await asyncio.sleep(0)
    assert sent == ["[a,A]", "[b,B]", "[c,C,d]"]


async def test_one_that_cannot_leave_keeps_none_of_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    batches = BatchTimer(asyncio.get_running_loop())
    sent: list[str] = []

    def fail(_text: str) -> None:
        raise ConnectionError("gone")

    broken, whole = FrameBatcher(batches, fail), FrameBatcher(batches, sent.append)
    for _ in range(2):
        broken.add("a")
        whole.add("b")
        await asyncio.sleep(0)
    assert sent == ["b", "b"]
    assert caplog.text.count("ConnectionError: gone") == 2

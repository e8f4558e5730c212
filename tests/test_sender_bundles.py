"""Frames that leave together: what is gathered, when it leaves, and what may wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

from chatsessions.websocket import sender
from chatsessions.websocket.sender import ALONG, MAX_SIZE, Sender

from .support.sessions import until

if TYPE_CHECKING:
    from pytest_django import Settings


async def moment() -> None:
    """Let the event loop do what it has to do now, and the sender's task send."""
    for _ in range(5):
        await asyncio.sleep(0)


class Wire(list[str]):
    """The messages that were sent."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.sender = Sender(self._send, max_waiting=1000, max_size=10_000_000)
        self.sender.start()
        self.sender.batch()

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            self.append(message["text"])
        else:
            self.codes.append(message["code"])


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire()
    yield wire
    await wire.sender.stop()


async def test_frames_of_the_same_moment_are_one_message(wire: Wire) -> None:
    for frame in ('{"a":1}', '{"b":2}', '{"c":3}'):
        wire.sender.send_frame(frame)
    assert wire == []
    await moment()
    assert wire == ['[{"a":1},{"b":2},{"c":3}]']


async def test_a_frame_alone_is_as_it_is(wire: Wire) -> None:
    wire.sender.send_frame('{"a":1}')
    await moment()
    assert wire == ['{"a":1}']


async def test_frames_of_two_moments_are_two_messages(wire: Wire) -> None:
    for frame in "ab":
        wire.sender.send_frame(frame)
        await moment()
    assert wire == ["a", "b"]


async def test_a_bundle_is_bounded(wire: Wire) -> None:
    """A megabyte in one message would show nothing until all of it is there."""
    frame = "x" * (MAX_SIZE // 4)
    for _ in range(12):
        wire.sender.send_frame(frame)
    await moment()
    assert sum(text.count("x") for text in wire) == 12 * len(frame)
    assert len(wire) == 3
    assert max(map(len, wire)) < MAX_SIZE + 10


async def test_a_large_frame_takes_none_of_those_before_it_along(wire: Wire) -> None:
    """Together they would be more than a server sends, however often the client came back."""
    small, large = "s" * (MAX_SIZE - 10), "l" * 15 * MAX_SIZE
    for frame in (small, large, small):
        wire.sender.send_frame(frame)
    await moment()
    assert wire == [small, large, small]


async def test_what_can_wait_does_not_when_nothing_has_left_lately(wire: Wire) -> None:
    wire.sender.send_frame("a", can_wait=True)
    await moment()
    assert wire == ["a"]


async def test_what_can_wait_is_gathered_for_the_interval(wire: Wire, settings: Settings) -> None:
    settings.CHATSESSIONS = {"TOKEN_INTERVAL": 0.2}
    for number in range(5):
        wire.sender.send_frame(str(number), can_wait=True)
        await moment()
    await until(lambda: len(wire) == 2)
    assert wire == ["0", "[1,2,3,4]"]


async def test_what_cannot_wait_takes_along_what_does(wire: Wire, settings: Settings) -> None:
    settings.CHATSESSIONS = {"TOKEN_INTERVAL": 3600}
    wire.sender.send_frame("0")
    await moment()
    wire.sender.send_frame("1", can_wait=True)
    await moment()
    assert wire == ["0"]
    wire.sender.send_frame("2")
    await moment()
    assert wire == ["0", "[1,2]"]


async def test_what_comes_behind_one_that_cannot_wait_leaves_with_it(
    wire: Wire, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"TOKEN_INTERVAL": 3600}
    wire.sender.send_frame("0")
    await moment()
    wire.sender.send_frame("1")
    wire.sender.send_frame("2", can_wait=True)
    await moment()
    assert wire == ["0", "[1,2]"]


async def test_what_goes_along_leaves_with_the_next(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "ALONG", 3600.0)
    for frame in "ab":
        wire.sender.send_frame(frame, along=True)
        await moment()
    assert wire == []
    wire.sender.send_frame("c")
    await moment()
    assert wire == ["[a,b,c]"]


async def test_what_goes_along_leaves_by_itself_if_nothing_comes(wire: Wire) -> None:
    for frame in "ab":
        wire.sender.send_frame(frame, along=True)
    await until(lambda: wire == ["[a,b]"])
    wire.sender.send_frame("c", along=True)  # once more, from the beginning
    assert wire == ["[a,b]"]
    await until(lambda: wire == ["[a,b]", "c"])


async def test_what_has_gone_along_is_not_waited_for(wire: Wire) -> None:
    """The next that goes along has the whole time for itself."""
    loop = asyncio.get_running_loop()
    wire.sender.send_frame("a", along=True)
    wire.sender.send_frame("b")
    await asyncio.sleep(ALONG * 0.8)
    assert wire == ["[a,b]"]
    started = loop.time()
    wire.sender.send_frame("c", along=True)
    await until(lambda: len(wire) == 2)
    assert loop.time() - started > ALONG * 0.9


async def test_what_goes_along_leaves_with_a_token(wire: Wire) -> None:
    """The first token of an answer is not kept waiting for a receipt's sake."""
    wire.sender.send_frame("a", along=True)
    wire.sender.send_frame("t", can_wait=True)
    await moment()
    assert wire == ["[a,t]"]


async def test_the_end_of_one_wait_is_not_that_of_the_next(wire: Wire) -> None:
    """However soon one follows the other: a moment is not cut short by the one before it."""
    loop = asyncio.get_running_loop()
    for number in range(3):
        started = loop.time()
        wire.sender.send_frame(f"{number}", along=True)
        await until(lambda sent=number + 1: len(wire) == sent)
        assert loop.time() - started > ALONG * 0.9


async def test_a_close_takes_along_what_has_gathered(wire: Wire) -> None:
    for frame in "ab":
        wire.sender.send_frame(frame)
    wire.sender.close(4000)
    wire.sender.send_frame("c")
    await until(lambda: wire.codes == [4000])
    assert wire == ["[a,b]"]

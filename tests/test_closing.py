"""Clients that say nothing, too much or too soon: what they are told, and when they are closed."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from chatsessions import Chat, Message, context, user_session

from .support.page import Page
from .support.sessions import until

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("worker")]

#: A rate at which nothing comes back while a test runs.
SLOW = 0.0001


@pytest.fixture
def bot(chat: Chat) -> Chat:
    """Adds up, emits as many fillers as it is asked for, or does not end."""

    @chat.on_event("add")
    async def add(data: int) -> None:
        user_session["total"] = user_session.get("total", 0) + data
        await Message(f"total {user_session['total']}").send()

    @chat.on_event("many")
    async def many(data: int) -> None:
        for number in range(data):
            await context.emitter.emit("filler", number)

    @chat.on_event("never")
    async def never() -> None:
        await asyncio.Event().wait()

    return chat


# Silence


async def test_no_hello_in_time_closes_whatever_else_comes(bot: Chat, settings: Settings) -> None:
    settings.CHATSESSIONS = {"HELLO_TIMEOUT": 0.2, "MAX_BAD_FRAMES": 1000}
    silent, talker = await Page(bot).connect(), await Page(bot).connect()
    while talker.is_open:
        await talker.send({"type": "ping"})
        await asyncio.sleep(0.01)
    for page in (silent, talker):
        assert await page.closed() == 4500
        assert {frame["code"] for frame in page.told} == {"hello_expected"}
        assert "no hello within" in page.told[-1]["detail"]
        await page.leave()
    assert len(silent.told) == 1


async def test_a_silent_client_is_closed_later_if_it_has_said_how_long(
    bot: Chat, settings: Settings
) -> None:
    """A hidden page is given the time that its browser takes."""
    settings.CHATSESSIONS = {"HEARTBEAT": 0.2}
    hidden = await Page(bot).connect()
    await hidden.send({"type": "hello"})
    await hidden.send({"type": "ping", "silence": 60})
    silent = await Page(bot).connect()
    await silent.send({"type": "hello"})
    assert await silent.closed() == 4012
    assert hidden.is_open
    await hidden.send({"type": "ping"})  # it is seen again
    assert await hidden.closed() == 4012
    await hidden.leave()
    await silent.leave()
    assert (await silent.resume())["resumed"]
    await silent.leave()


async def test_a_client_that_pings_is_not(bot: Chat, settings: Settings) -> None:
    """If a machine that is held up lets a ping come too late, it begins again."""
    patience = 0.5
    settings.CHATSESSIONS = {"HEARTBEAT": patience / 2.5}
    page = Page(bot)
    pings, spoke = 0, 0.0
    while pings < 6:
        if not page.is_open:
            pings, spoke = 0, time.monotonic()
            await page.resume()
        await asyncio.sleep(patience / 3)
        now, since = time.monotonic(), page.here
        if page.is_open:
            await page.send({"type": "ping"})
        await until(lambda at=since: page.of_type("pong", since=at) or not page.is_open)
        if page.is_open:
            pings, spoke = pings + 1, now
        else:
            assert time.monotonic() - spoke > patience
            await page.leave()
    await page.leave()


# Too much


async def test_events_beyond_the_rate_are_told_when_to_come_again_and_share_their_fate(
    bot: Chat, settings: Settings
) -> None:
    """A client that pipelines hears of a limit, not of gaps that it would repair at once."""
    settings.CHATSESSIONS = {"EVENTS_PER_SECOND": SLOW, "EVENT_BURST": 5}
    page = await Page(bot).start()
    for _ in range(8):
        await page.event("add", 1)
    await page.ping()
    assert [error["n"] for error in page.of_type("error")] == [6, 7, 8]
    assert {error["code"] for error in page.of_type("error")} == {"rate_limited"}
    assert all(error["retry_after"] > 0 for error in page.of_type("error"))
    await page.said("total 5")
    # A reconnect does not lift the limit.
    await page.leave()
    await page.resume()
    await page.ping()
    assert page.unaccepted.keys() == {6, 7, 8}
    await page.leave()


async def test_who_does_not_wait_is_closed_and_may_come_back(bot: Chat, settings: Settings) -> None:
    settings.CHATSESSIONS = {"EVENTS_PER_SECOND": SLOW, "EVENT_BURST": 5, "MAX_RATE_LIMITED": 4}
    page = await Page(bot).start()
    for _ in range(6):
        await page.event("add", 1)
    while page.is_open:
        since = page.here
        await page.send({"type": "event", "n": 6, "name": "add", "data": 1})
        await until(lambda at=since: page.of_type("error", since=at) or not page.is_open)
    assert await page.closed() == 4013
    assert [error["code"] for error in page.of_type("error")] == 5 * ["rate_limited"]
    await page.leave()
    assert (await page.resume(resend=False))["received"] == 5
    await page.leave()


async def test_events_that_wait_too_many_are_busy(bot: Chat, settings: Settings) -> None:
    settings.CHATSESSIONS = {"MAX_PENDING_EVENTS": 3}
    page = await Page(bot).start()
    await page.event("never")
    await page.until({"type": "turn", "turn": 1, "status": "running"})
    for number in range(3):
        await page.event("add", number)
    n = await page.event("add", 100)
    error = await page.until({"type": "error", "n": n})
    assert error["code"] == "busy"
    assert error["retry_after"] > 0
    await page.stop()
    await page.said("total 3")
    await page.resend()
    await page.said("total 103")
    await page.leave()


# Too little


async def test_a_client_that_never_acknowledges_is_closed_and_resumes(
    bot: Chat, settings: Settings
) -> None:
    settings.CHATSESSIONS = {"MAX_UNACKED_EVENTS": 64}
    page = await Page(bot).start()
    await page.event("many", 100)
    assert await page.closed() == 4008
    assert 60 <= page.received <= 70
    await page.leave()
    page.acks = True
    await page.resume()
    await page.caught_up()
    numbers = [frame["data"] for frame in page.event_frames("filler")]
    assert numbers == list(range(100))
    await page.leave()


async def test_a_repeat_during_a_replay_is_answered_by_its_entry_in_its_place(
    bot: Chat, settings: Settings
) -> None:
    """An ``accepted`` stands for its entry: with both, the client would be told that one twice."""
    settings.CHATSESSIONS = {"MAX_UNACKED_EVENTS": 64}
    page = await Page(bot).start()
    for _ in range(3):
        await page.outcome(await page.event("many", 30))
        await page.ack()
    n = await page.event("add", 5)
    await page.outcome(n)
    await page.leave()
    since = page.here
    await page.resume(received=0)
    await page.until({"type": "event", "seq": 30}, since=since)  # the replay waits for acks
    await page.send({"type": "event", "n": n, "name": "add", "data": 5})
    await page.ping()
    assert not page.of_type("accepted", since=since)
    page.acks = True
    await page.ack()
    await page.caught_up()
    told = [recorded.frame for recorded in page.record[since:] if not recorded.sent]
    seqs = [frame["seq"] for frame in told if "seq" in frame]
    assert seqs == list(range(1, len(seqs) + 1))
    assert page.of_type("event", since=since)[-1]["seq"] == len(seqs)
    assert page.problems == []
    await page.leave()

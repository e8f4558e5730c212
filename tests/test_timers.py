"""Timers and deadlines after a hold-up of the event loop: what came in time goes first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chatsessions import StoreUnavailable
from chatsessions.timers import CATCH_UP, Timer, deadline
from chatsessions.workers.calls import patiently

from .support.sessions import hold_up

if TYPE_CHECKING:
    from pytest_django import Settings


async def test_a_timer_calls_when_it_is_due() -> None:
    loop, called = asyncio.get_running_loop(), asyncio.Event()
    begun = loop.time()
    Timer(loop, 0.02, called.set)
    await called.wait()
    assert 0.015 < loop.time() - begun < CATCH_UP


async def test_after_a_hold_up_a_timer_waits_once_more() -> None:
    loop, called = asyncio.get_running_loop(), asyncio.Event()
    Timer(loop, 0.02, called.set)
    hold_up(0.6)
    went_on = loop.time()
    await called.wait()
    assert loop.time() - went_on > 0.9 * CATCH_UP


@pytest.mark.parametrize("held_up", [0, 0.6])
async def test_a_timer_that_was_cancelled_calls_nothing(held_up: float) -> None:
    loop, called = asyncio.get_running_loop(), asyncio.Event()
    timer = Timer(loop, 0.02, called.set)
    hold_up(held_up)
    if held_up:
        await asyncio.sleep(0.01)
    timer.cancel()
    await asyncio.sleep(CATCH_UP + 0.1)
    assert not called.is_set()


@pytest.mark.parametrize("held_up", [0, 0.6])
async def test_a_deadline_is_a_timeout(held_up: float) -> None:
    async def wait() -> None:
        async with deadline(0.02) as timeouts[0]:
            hold_up(held_up)
            await asyncio.Event().wait()

    timeouts: dict[int, asyncio.Timeout] = {}
    with pytest.raises(TimeoutError):
        await wait()
    assert timeouts[0].expired()


async def test_a_deadline_after_the_end_of_its_block_cancels_nothing() -> None:
    async with deadline(0.02) as timeout:
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    assert not timeout.expired()


async def test_what_the_store_has_answered_in_time_counts_after_a_hold_up(
    settings: Settings,
) -> None:
    settings.CHATSESSIONS = {"STORE_TIMEOUT": 0.1}
    answered = asyncio.Event()

    async def step() -> bool:
        return await asyncio.create_task(answered.wait())  # as a driver with a task that reads

    reading = asyncio.create_task(patiently(step))
    await asyncio.sleep(0.01)
    hold_up(1, arrives=answered.set)
    assert await reading
    answered.clear()
    with pytest.raises(StoreUnavailable):
        await patiently(step)

"""Bots as users of Chainlit write them, each over a websocket of ``chatsessions run``."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.cli.command import PATIENCE, Run

from .conversation import Tab

pytestmark = pytest.mark.server


async def test_a_model_gets_the_history_of_user_session(served: Run) -> None:
    async with Tab.at(served, "history") as tab:
        await tab.start()
        assert await tab.answers("Hello") == ["This is your message 1. The first was: Hello "]
        assert await tab.answers("And?") == ["This is your message 2. The first was: Hello "]
        tokens = [frame["text"] for frame in tab.of_type("token")]
        assert len(tokens) > 2
        assert tab.problems == []


async def test_tools_are_called_with_pydantic_and_models_are_remembered(served: Run) -> None:
    async with Tab.at(served, "tools") as tab:
        await tab.start()
        [said] = await tab.answers("Oslo")
        assert said == 'I looked it up: {"city":"Oslo","degrees":[20,21]}'
        step = tab.steps()["The weather"]
        assert step["type"] == "tool"
        assert "Oslo" in json.dumps(step["input"])
        assert "degrees" in json.dumps(step["output"])
        await tab.answers("Rome")
        await tab.resume()
        assert await tab.answers("history") == ["Oslo 21, Rome 21; last Rome"]


async def test_steps_are_nested_streamed_and_fail(served: Run) -> None:
    async with Tab.at(served, "steps") as tab:
        await tab.start()
        assert await tab.answers("cats") == [
            "It failed: No such thing",
            "2 results for cats. The conversation: user, assistant",
        ]
        steps = tab.steps()
        assert {"Work", "Search", "Index", "think", "count", "fail", "Last"} == set(steps)
        work = steps["Work"]
        assert (work["input"], work["output"]) == ("cats", "4 letters")
        for name, parent in {"Search": "Work", "Index": "Search", "Last": "Work"}.items():
            assert steps[name]["parent"] == steps[parent]["id"], name
        assert steps["think"]["output"] == "I think so."
        assert steps["fail"]["error"] == "This step has failed."  # what it said stays here
        assert steps["Last"]["output"] == "second"
        assert all(step["start"] for step in steps.values())


async def test_handlers_may_be_plain_functions(served: Run) -> None:
    async with Tab.at(served, "sync-handlers") as tab:
        await tab.start()
        await tab.said("Hello from a function", PATIENCE)
        turn = await tab.message("one")
        question = await tab.entry("ask", content="ONE?")
        await tab.answer(question["call"], {"content": "Yes"})
        assert await tab.outcome(turn, PATIENCE) == "done"
        assert tab.contents[-1] == "Yes, 1!"
        assert tab.steps()["slow"]["output"] == "ONE"
        # A disconnect is not the end.
        await tab.resume()
        assert "The end of" not in served.terminal()
        await tab.end()
        await tab.until({"type": "ended"}, PATIENCE)
    served.until(lambda: f"The end of {tab.session}" in served.terminal(), "it did not end")


async def test_a_kill_in_mid_turn_loses_the_turn_and_nothing_else(served: Run) -> None:
    async with Tab.at(served, "agent") as tab:
        await tab.start()
        assert await tab.answers("Hello") == ["This is your message 1. The first was: Hello "]
        since = tab.here
        await tab.message("wait")
        await tab.until({"type": "token"}, PATIENCE, since=since)
        await asyncio.to_thread(served.kill)
        await tab.closed(PATIENCE)
        seen = tab.contents[:2]
        await asyncio.to_thread(served.start)
        await tab.resume()
        assert (await tab.entry("error"))["code"] == "interrupted"
        # The agent was in memory only: it is built again, by on_chat_start.
        said = await tab.answers("Are you there?")
        assert said == ["This is your message 1. The first was: Are you there? "]
        assert tab.contents[:2] == seen == [*seen[:1], "I begin"]
        assert tab.problems == []

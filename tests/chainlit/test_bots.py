"""Bots as users of Chainlit write them, each over a websocket of ``chatsessions run``."""

from __future__ import annotations

import asyncio
import json
from urllib.request import build_opener

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


async def test_an_agent_is_kept_as_long_as_the_session_is_here(served: Run) -> None:
    async with Tab.at(served, "agent") as tab:
        await tab.start()
        await tab.answers("Hello")
        assert await tab.answers("And?") == ["This is your message 2. The first was: Hello "]
        assert tab.event_frames("message")[-1]["data"]["author"] == "Smith"


async def test_texts_choices_and_files_are_asked_for(served: Run) -> None:
    async with Tab.at(served, "asking") as tab:
        await tab.start()
        question = await tab.entry("ask", kind="text", content="What is your name?")
        await tab.answer(question["call"], {"content": "Ada"})
        await tab.said("Your name is: Ada", PATIENCE)
        question = await tab.entry("ask", kind="action")
        [chosen] = [one for one in question["actions"] if one["label"] == "Continue"]
        await tab.answer(question["call"], {"id": chosen["id"]})
        await tab.said("Continue!", PATIENCE)
        question = await tab.entry("ask", kind="files")
        file = await tab.upload("note.txt", "text/plain", "Größe".encode())
        await tab.answer(question["call"], {"files": [file]})
        await tab.said("`note.txt` of 7 bytes has 5 characters!", PATIENCE)
        assert await tab.outcome(0, PATIENCE) == "done"
        # The payload is the one that was offered, whatever the client says.
        pressed = await tab.press("Say it", payload={"text": "something else"})
        assert await tab.outcome(pressed, PATIENCE) == "done"
        await tab.said("Größe (of True)", PATIENCE)
        last = tab.event_frames("message_update")[-1]["data"]
        assert not last.get("actions")


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


async def test_profiles_and_settings_of_every_kind(served: Run) -> None:
    async with Tab.at(served, "profiles") as tab:
        await tab.start(profile="Small")
        await tab.said("Small: b, 1", PATIENCE)
        form = await tab.entry("settings_form")
        inputs = {one["id"]: one["type"] for one in form["inputs"]}
        assert len(inputs) == 10
        changed = {"Model": "c", "Tools": ["web", "code"], "Day": "2026-03-04"}
        settings = (await tab.entry("settings")) | changed
        assert await tab.outcome(await tab.event("settings", settings), PATIENCE) == "done"
        await tab.said("Settings: c, ['web', 'code'], 2026-03-04", PATIENCE)
        # The server knows what may be chosen.
        refused = await tab.event("settings", settings | {"Model": "d"})
        error = await tab.until({"type": "error", "n": refused}, PATIENCE)
        assert error["code"] == "bad_frame"
    async with Tab.at(served, "profiles") as tab:
        await tab.start(profile="Small")
        await tab.said("Small: b, 1", PATIENCE)
        assert await tab.answers("tabs") == ["['Name', 'On']"]
    async with Tab.at(served, "profiles") as tab:
        await tab.start()
        await tab.said("Large: b, 1", PATIENCE)


async def test_a_conversation_is_continued_with_what_was_said(served: Run, password: str) -> None:
    cookie, _ = await asyncio.to_thread(served.log_in, password)
    async with Tab.at(served, "resume", cookie=cookie) as tab:
        await tab.start()
        await tab.said("Hello admin", PATIENCE)
        assert await tab.answers("one") == ["So far: one"]
        assert await tab.answers("two") == ["So far: one, two"]
        thread = (await asyncio.to_thread(threads, served, cookie))["threads"][0]["id"]
        await tab.end()
        await tab.until({"type": "ended"}, PATIENCE)
    async with Tab.at(served, "resume", cookie=cookie) as later:
        await later.start(thread=thread)
        assert await later.answers("three") == ["So far: one, two, three"]
        assert "Hello admin" not in later.contents
    async with Tab.at(served, "resume") as stranger:
        await stranger.start()
        await stranger.said("Hello stranger", PATIENCE)


def threads(run: Run, cookie: str) -> dict[str, list[dict[str, str]]]:
    """The threads of a user with the bot."""
    browser = build_opener()
    browser.addheaders = [("Cookie", cookie)]
    found: dict[str, list[dict[str, str]]] = json.load(
        browser.open(f"{run.origin}/chats/threads/?chat=resume")
    )
    return found


async def test_stop_ends_a_stream_and_is_told(served: Run) -> None:
    async with Tab.at(served, "stopping") as tab:
        await tab.start()
        turn = await tab.message("count")
        await tab.until({"type": "token"}, PATIENCE)
        await tab.stop()
        assert await tab.outcome(turn, PATIENCE) == "stopped"
        await tab.said("Task manually stopped.", PATIENCE)
        assert await tab.answers("how often") == ["Stopped 1"]


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


async def test_threads_talk_to_the_user(served: Run) -> None:
    async with Tab.at(served, "os-threads") as tab:
        await tab.start()
        assert await tab.answers("abc") == [
            "abc in another thread: True",
            "cba",
            "from the loop's own thread: abc",
        ]


async def test_elements_are_files_and_texts_of_the_message(served: Run) -> None:
    async with Tab.at(served, "elements") as tab:
        await tab.start()
        assert await tab.outcome(0, PATIENCE) == "done"
        sent = {one["data"]["content"]: one["data"] for one in tab.event_frames("message")}
        [image] = sent["A picture"]["files"]
        assert (image["name"], image["mime"]) == ("pixel.png", "image/png")
        assert (await tab.fetch(image["id"])).startswith(b"\x89PNG")
        assert sent["A plot"]["files"][0]["mime"] == "image/png"
        texts = {one["name"]: one["id"] for one in sent["Some texts"]["files"]}
        assert set(texts) == {"A poem", "code"}
        assert await tab.fetch(texts["A poem"]) == b"Roses are red"
        files = {one["name"]: one["mime"] for one in sent["Files"]["files"]}
        assert set(files) == {"elements.py", "a.pdf", "a.wav", "a.mp4"}
        assert files["a.pdf"] == "application/pdf"
        assert await tab.answers("late") == ["Without"]
        assert tab.event_frames("message_update")[-1]["data"]["files"][0]["name"] == "late.png"
        # What the user sends comes as elements with a path.
        file = await tab.upload("note.txt", "text/plain", b"12345")
        turn = await tab.event("message", {"content": "look", "files": [file]})
        assert await tab.outcome(turn, PATIENCE) == "done"
        assert tab.contents[-1] == "file note.txt text/plain .txt 5"


async def test_a_list_of_tasks_changes(served: Run) -> None:
    async with Tab.at(served, "task-list") as tab:
        await tab.start()
        said = await tab.answers("work")
        assert said[-1] == "WORK" or said[0] == "WORK"
        [tasks] = [text for text in said if text != "WORK"]
        assert "Read the message" in tasks
        assert "Answer it" in tasks
        assert "Done" in tasks


async def test_starters_are_offered_and_taken(served: Run) -> None:
    async with Tab.at(served, "starters") as tab:
        await tab.start()
        offered = (await tab.entry("starters"))["starters"]
        labels = [one["label"] for one in offered]
        assert labels == ["Morning routine", "Spot errors", "A weekend"]
        assert [one["icon"] for one in offered] == [None, "☂", None]  # an address is no icon
        assert not any("command" in one for one in offered)
        [said] = await tab.answers(offered[0]["message"])
        assert said == "You said: Help me."


async def test_the_conversation_is_there_for_a_model(served: Run) -> None:
    async with Tab.at(served, "recall") as tab:
        await tab.start()
        await tab.answers("one")
        assert await tab.answers("two") == ["This is your message 2. The first was: one"]
        assert await tab.answers("forget") == ["This is your message 1. The first was: forget"]
        assert await tab.answers("clear") == []
        assert await tab.answers("new") == ["This is your message 1. The first was: new"]


async def test_a_page_around_it_sends_and_gets_messages(served: Run) -> None:
    async with Tab.at(served, "window") as tab:
        await tab.start(env={"API_KEY": "12345"})
        await tab.said("A key of 5 characters", PATIENCE)
        assert await tab.outcome(await tab.event("window_message", "Hi"), PATIENCE) == "done"
        window = tab.event_frames("window_message")[-1]
        assert window["data"] == "Server: Hi"
        # It is in the log, and comes again to a page that is loaded again.
        since = tab.here
        await tab.resume(received=0)
        await tab.until({"name": "window_message", "seq": window["seq"]}, PATIENCE, since=since)
        assert await tab.answers("emit") == ["webapp, str", "after"]


async def test_messages_are_streamed_changed_and_taken_back(served: Run) -> None:
    async with Tab.at(served, "streaming") as tab:
        await tab.start()
        said = await tab.answers("go")
        assert said[:2] == ["Roses are blue", "Two"]
        assert json.loads(said[2].strip("`json\n")) == {"a": [1, 2]}
        assert said[3:] == ["Nothing is wrong", "True"]
        data = {one["data"]["content"]: one["data"] for one in tab.event_frames("message")}
        assert data["Nothing is wrong"]["metadata"]["error"] is True
        assert not {"tags", "parent_id", "parentId", "command", "modes"} & set(data["True"])
        assert tab.problems == []


async def test_callbacks_run_beside_the_handler_that_waits_for_them(served: Run) -> None:
    async with Tab.at(served, "beside") as tab:
        await tab.start()
        for name, by in [("action", "me"), ("window_message", "window"), ("settings", "word")]:
            since = tab.here
            turn = await tab.message("go")
            await tab.said("Shall I?", PATIENCE, since=since)
            if name == "action":
                await tab.press("Approve")
            else:
                await tab.event(name, by if name == "window_message" else {"word": by})
            assert await tab.outcome(turn, PATIENCE) == "done"
            await tab.said(f"I did, by {by}", PATIENCE, since=since)


async def test_handlers_of_an_imported_module_count(served: Run) -> None:
    async with Tab.at(served, "imported") as tab:
        await tab.start()
        await tab.said("Press or write", PATIENCE)
        assert await tab.answers("x") == ["From elsewhere: x"]
        assert await tab.outcome(await tab.press("Hint"), PATIENCE) == "done"
        await tab.said("A hint from elsewhere", PATIENCE)


@pytest.mark.usefixtures("password")
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


async def test_the_parts_of_chainlit_are_there(served: Run) -> None:
    async with Tab.at(served, "inside") as tab:
        await tab.start()
        turn = await tab.message("check")
        await tab.said("Wrong: nothing", PATIENCE)
        assert "set_commands() is ignored" in served.terminal()
        assert tab.event_frames("message")[-1]["data"]["author"] == "The tool"
        question = await tab.entry("ask", content="Mode A?")
        await tab.answer(question["call"], {"id": question["actions"][0]["id"]})
        assert await tab.outcome(turn, PATIENCE) == "done"
        assert tab.contents[-1] == "yes Yes"

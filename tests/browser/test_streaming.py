"""Answers that take their time: stopped, reloaded, cut short."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.server.harness import Server

from .chat import PATIENCE, Chat

pytestmark = pytest.mark.browser

GREETING = "Give me a subject, and I'll tell you a story. Press stop when you've enough."
STOPPED = "All right, I'll stop there."
INTERRUPTED = "The server was interrupted while it worked on this."


@pytest.mark.slow
def test_a_reload_in_the_middle_of_an_answer(
    server: Server, open_chat: Callable[..., Chat]
) -> None:
    """
    The text so far is there again, the rest of the stream goes on behind it, and the whole is
    what the server has stored: no word twice, none lost.
    """
    chat = open_chat("storyteller")
    chat.say("rain")
    before = chat.has_story(words=15)
    chat.reload()
    after = chat.has_story(words=len(before.split()))
    assert after.startswith(before)
    expect(chat.stop).to_be_visible()
    chat.reload()
    assert chat.has_story(words=len(after.split())).startswith(after)
    expect(chat.streaming).to_have_count(0, timeout=PATIENCE * 1000)
    story = chat.texts()[-1]
    assert story.startswith(after)
    assert story.startswith("A story about rain. Once, in a town where the rain kept a diary,")
    assert len(chat.texts()) == 3
    chat.shows_what_is_stored(server.database)


def test_a_selection_survives_the_end_of_an_answer(open_chat: Callable[..., Chat]) -> None:
    """What was written stands in the same nodes when it is whole."""
    chat = open_chat("storyteller")
    chat.say("rain")
    chat.has_story(words=8)
    content = chat.streaming.locator("[part=content]").element_handle()
    selected = "content => content.getRootNode().getSelection().toString()"
    content.evaluate(
        "content => content.getRootNode().getSelection()"
        ".setBaseAndExtent(content.firstChild, 0, content.firstChild, 7)"
    )
    assert content.evaluate(selected) == "A story"
    chat.element.evaluate("element => element.client.stop()")
    expect(chat.streaming).to_have_count(0)
    assert content.evaluate(selected) == "A story"


def test_a_text_that_streams_runs_as_its_first_letter_does(open_chat: Callable[..., Chat]) -> None:
    """From right to left at once; when it is whole, each of its paragraphs as its own."""
    chat = open_chat(path="/bare/")
    chat.say("hello")
    expect(chat.contents).to_have_count(3)
    tell = """(element, [type, detail]) =>
      element.client.dispatchEvent(new CustomEvent(type, { detail: { live: true, ...detail } }))"""
    message = {"id": "m", "content": "", "streaming": True}
    chat.element.evaluate(tell, ["event", {"seq": 0, "name": "message", "data": message}])
    for index, text in enumerate(["- שלום ", "עולם\n", "hello\n"]):
        chat.element.evaluate(tell, ["token", {"message": "m", "index": index, "text": text}])
    content = chat.contents.last
    expect(content).to_have_text("- שלום עולם hello")
    expect(content).to_have_css("direction", "rtl")
    expect(content).to_have_css("unicode-bidi", "isolate")
    whole = {"id": "m", "content": "- שלום עולם\nhello\n", "streaming": False}
    chat.element.evaluate(tell, ["event", {"seq": 0, "name": "message_update", "data": whole}])
    expect(content).to_have_css("unicode-bidi", "plaintext")
    expect(content).to_have_css("direction", "ltr")


def test_stop(server: Server, open_chat: Callable[..., Chat]) -> None:
    """The button ends the answer where it is; what was said of it stays, also after a reload."""
    chat = open_chat("storyteller")
    chat.say("rain")
    before = chat.has_story(words=8)
    expect(chat.element.get_by_text("Working…")).to_be_visible()
    chat.stop.click()
    expect(chat.contents.last).to_have_text(STOPPED)
    expect(chat.streaming).to_have_count(0)
    expect(chat.stop).to_be_hidden()
    shown = chat.texts()
    assert shown == [GREETING, "rain", shown[2], STOPPED]
    assert shown[2].startswith(before)
    chat.shows_what_is_stored(server.database)
    chat.reload()
    chat.is_("Online")
    chat.shows(*shown)


def test_talking_on_after_a_stop(server: Server, open_chat: Callable[..., Chat]) -> None:
    """What is written while an answer runs waits for its turn, and gets it after a stop."""
    chat = open_chat("storyteller")
    chat.say("rain")
    chat.has_story(words=5)
    chat.say("snow")
    chat.stop.click()
    expect(chat.contents.filter(has_text="A story about snow.")).to_have_count(1)
    chat.stop.click()
    expect(chat.contents.filter(has_text=STOPPED)).to_have_count(2)
    expect(chat.streaming).to_have_count(0)
    chat.shows_what_is_stored(server.database)


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_server_that_ends_in_the_middle_of_an_answer(
    how: str, server: Server, open_chat: Callable[..., Chat]
) -> None:
    """The answer stays as far as it is stored, marked as cut short; the conversation goes on."""
    chat = open_chat("storyteller")
    chat.say("rain")
    before = chat.has_story(words=30)  # at 20 a second: stored once a second
    server.restart(how="kill" if how == "kill" else "terminate")
    chat.is_("Online")
    expect(chat.contents.last).to_have_text(INTERRUPTED)
    expect(chat.streaming).to_have_count(0)
    expect(chat.stop).to_be_hidden()
    shown = chat.texts()
    assert shown == [GREETING, "rain", shown[2], INTERRUPTED]
    assert shown[2].startswith("A story about rain.")
    assert shown[2].startswith(before) or before.startswith(shown[2])
    chat.shows_what_is_stored(server.database)
    chat.say("snow")
    chat.has_story(words=3)
    chat.stop.click()
    expect(chat.contents.last).to_have_text(STOPPED)
    chat.shows_what_is_stored(server.database)

"""Answers that take their time: stopped, reloaded, cut short."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.server.harness import Server

from .chat import Chat

pytestmark = pytest.mark.browser

GREETING = "Give me a subject, and I'll tell you a story. Press stop when you've enough."
STOPPED = "All right, I'll stop there."
INTERRUPTED = "The server was interrupted while it worked on this."

SELECT = """(content) => content.getRootNode().getSelection()
  .setBaseAndExtent(content.firstChild, 0, content.firstChild, 7)"""
SELECTED = "(content) => content.getRootNode().getSelection().toString()"


def test_an_answer_is_stopped(server: Server, open_chat: Callable[..., Chat]) -> None:
    """
    It ends where it is, what was said of it stays, and what was written meanwhile is next. A reload
    in the middle has the text so far and goes on behind it: no word twice, none lost.
    """
    chat = open_chat("storyteller")
    chat.say("rain")
    before = chat.has_story(words=8)
    expect(chat.element.get_by_text("Working…")).to_be_visible()
    copy = chat.messages.nth(2).get_by_role("button", name="Copy message")
    expect(copy).to_have_count(0)
    # What was written stands in the same nodes when it is whole: it stays selected.
    content = chat.streaming.locator("[part=content]").element_handle()
    content.evaluate(SELECT)
    assert content.evaluate(SELECTED) == "A story"
    chat.element.evaluate("({ client }) => client.stop()")
    expect(chat.contents.last).to_have_text(STOPPED)
    expect(chat.streaming).to_have_count(0)
    expect(chat.stop).to_be_hidden()
    assert content.evaluate(SELECTED) == "A story"
    expect(copy).to_have_count(1)
    shown = chat.texts()
    assert shown == [GREETING, "rain", shown[2], STOPPED]
    assert shown[2].startswith(before)

    chat.say("snow")
    before = chat.has_story(words=5)
    chat.reload()
    assert chat.has_story(words=len(before.split())).startswith(before)
    chat.say("hail")
    chat.stop.click()
    expect(chat.contents.filter(has_text="A story about hail.")).to_have_count(1)
    chat.stop.click()
    expect(chat.contents.filter(has_text=STOPPED)).to_have_count(3)
    expect(chat.streaming).to_have_count(0)
    chat.shows_what_is_stored(server.database)
    shown = chat.texts()
    chat.reload()
    chat.is_("Online")
    chat.shows(*shown)


def test_a_server_that_is_killed_in_the_middle_of_an_answer(
    server: Server, open_chat: Callable[..., Chat]
) -> None:
    """
    The page says so, and tries again by itself. The answer stays as far as it is stored, marked as
    cut short, and what was written meanwhile arrives once.
    """
    chat = open_chat("storyteller")
    chat.say("rain")
    before = chat.has_story(words=30)  # at 20 a second: stored once a second
    session = chat.session
    server.kill()
    expect(chat.banner).to_contain_text("The connection is lost. Your messages are kept")
    expect(chat.element.get_by_role("button", name="Try now")).to_be_visible()
    chat.is_("Offline")
    chat.say("snow")
    expect(chat.waiting).to_contain_text("Waiting for the connection")

    server.start()
    chat.is_("Online")
    expect(chat.banner).to_be_hidden()
    expect(chat.contents.filter(has_text="A story about snow.")).to_have_count(1)
    chat.stop.click()
    expect(chat.contents.last).to_have_text(STOPPED)
    expect(chat.streaming).to_have_count(0)
    expect(chat.waiting).to_have_count(0)
    shown = chat.texts()
    assert shown == [GREETING, "rain", shown[2], INTERRUPTED, "snow", shown[5], STOPPED]
    assert shown[2].startswith("A story about rain.")
    assert shown[2].startswith(before) or before.startswith(shown[2])
    assert chat.session == session
    chat.shows_what_is_stored(server.database)

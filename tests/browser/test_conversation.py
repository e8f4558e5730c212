"""Tabs, reloads, answers that are stopped, lines and servers that break."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from demo_project.views import BOTS
from tests.server.harness import Server

from .chat import GREETING, Chat, Line, counted

pytestmark = pytest.mark.browser


def test_each_tab_has_a_conversation_that_survives_a_reload(server: Server, page: Page) -> None:
    """Another tab neither shows nor counts anything of it. A draft is kept too."""
    page.goto(server.origin)
    expect(page.get_by_role("listitem")).to_have_count(len(BOTS))
    page.get_by_role("link", name="Counter", exact=True).click()
    one = Chat(page)
    one.say("first")
    one.shows(GREETING, "first", counted(1))
    # The demo's own link does not take the session along.
    with page.expect_popup() as popup:
        page.get_by_role("link", name="Open a second tab").click()
    two = Chat(popup.value)
    two.shows(GREETING)
    two.say("other")
    two.shows(GREETING, "other", counted(1))
    one.say("second")
    shown = (GREETING, "first", counted(1), "second", counted(2))
    one.shows(*shown)
    session = one.session
    assert session != two.session

    one.input.fill("one\ntwo\nthree")
    box = one.input.bounding_box()
    assert box
    one.reload()
    one.is_("Online")
    one.shows(*shown)
    expect(one.notes).to_have_count(0)
    assert one.session == session
    expect(one.input).to_have_value("one\ntwo\nthree")
    assert (one.input.bounding_box() or {})["height"] == box["height"]
    one.say("third")
    one.shows(*shown, "third", counted(3))
    one.shows_what_is_stored(server.database)
    assert server.database.state(session) == {"message_count": 3}


def test_what_is_done_without_a_connection_is_done_once_when_it_is_back(
    server: Server, page: Page
) -> None:
    line = Line(page)
    chat = Chat.at(page, f"{server.origin}/chat/counter/")
    chat.say("before")
    chat.shows(GREETING, "before", counted(1))

    # A message arrives once, though the page is another one by then.
    line.cut()
    chat.is_("Offline")
    chat.say("meanwhile")
    expect(chat.waiting).to_have_count(1)
    line.restore()
    chat.reload()
    chat.shows(GREETING, "before", counted(1), "meanwhile", counted(2))
    chat.shows_what_is_stored(server.database)

    # The button tries at once, and gives the cursor back to the message.
    line.cut()
    chat.element.get_by_role("button", name="Try now").focus()
    line.mend()  # which presses it
    chat.is_("Online")
    expect(chat.input).to_be_focused()
    expect(chat.banner).to_be_hidden()

    # The end is not forgotten until it can be told.
    line.cut()
    chat.press("End chat")
    chat.press("End it now")
    line.mend()
    expect(chat.banner).to_contain_text("You have ended this conversation.")
    assert server.database.session(chat.session)["end_reason"] == "user"


STORY = "Give me a subject, and I'll tell you a story. Press stop when you've enough."
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
    assert shown == [STORY, "rain", shown[2], STOPPED]
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
    assert shown == [STORY, "rain", shown[2], INTERRUPTED, "snow", shown[5], STOPPED]
    assert shown[2].startswith("A story about rain.")
    assert shown[2].startswith(before) or before.startswith(shown[2])
    assert chat.session == session
    chat.shows_what_is_stored(server.database)

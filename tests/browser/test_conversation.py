"""Tabs, reloads, and lines that break."""

from __future__ import annotations

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
    page.goto(f"{server.origin}/chat/counter/")
    chat = Chat(page)
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

"""The admin beside a conversation that goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.server.harness import Server

from .chat import GREETING, Chat
from .conftest import add_staff, log_in_by_form

pytestmark = pytest.mark.browser


def test_an_administrator_reads_and_ends_sessions(
    server: Server, new_context: Callable[..., BrowserContext], open_chat: Callable[..., Chat]
) -> None:
    chat = open_chat("counter")
    chat.say("<b>hello</b>")
    expect(chat.contents).to_have_count(3)
    first, url = chat.session, chat.page.url

    # The list shows the live session, its page the conversation, its values, and no markup.
    admin = new_context().new_page()
    listing = f"{server.origin}/admin/chatsessions/chatsession/"
    admin.goto(listing)
    log_in_by_form(admin, add_staff(server))
    expect(admin.get_by_role("heading", name="Select session to view")).to_be_visible()
    admin.get_by_role("link", name=first[:8]).click()
    transcript = admin.locator("#transcript")
    for text in chat.texts():
        expect(transcript.get_by_text(text, exact=True)).to_be_visible()
    expect(admin.locator("#user-session")).to_contain_text("message_count")
    expect(admin.locator("#facts")).to_contain_text("connected", ignore_case=True)

    # A live page is told at once of its end, and can only begin anew.
    admin.locator("summary", has_text="End session").click()
    admin.get_by_role("button", name="Yes, end it").click()
    expect(admin.get_by_text("1 session was ended.")).to_be_visible()
    expect(chat.banner).to_contain_text("This conversation was ended by an administrator.")
    chat.is_("Ended")
    expect(chat.contents).to_have_count(3)
    assert server.database.session(first)["end_reason"] == "admin"
    chat.press("Start a new conversation")
    chat.shows(GREETING)
    second = chat.session
    assert second != first

    # The same from the list, with the client away: on its return the page says what happened.
    chat.page.goto("about:blank")
    admin.goto(listing)
    admin.get_by_role("row", name=second[:8]).get_by_role("checkbox").check()
    admin.get_by_role("combobox").select_option("End selected sessions")
    admin.get_by_title("Run the selected action").click()
    expect(admin.get_by_text("1 session was ended.")).to_be_visible()
    chat.page.goto(url)
    expect(chat.notes).to_have_text("Your earlier conversation has ended. This is a new one.")
    chat.shows(GREETING)
    chat.reload()
    chat.shows(GREETING)
    expect(chat.notes).to_have_count(0)

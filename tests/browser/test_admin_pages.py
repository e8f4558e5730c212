"""The admin beside a conversation that goes on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import BrowserContext, Page, expect

from tests.server.harness import Server

from .chat import Chat

pytestmark = pytest.mark.browser

PASSWORD = "for the tests"


@pytest.fixture
def admin(server: Server, new_context: Callable[..., BrowserContext]) -> Page:
    """An administrator in a browser of their own, logged in."""
    if server.database.user_id("admin") is None:
        user = User(username="admin")
        user.set_password(PASSWORD)
        server.database.add_user(user)
        server.database.execute("UPDATE auth_user SET is_staff = 1, is_superuser = 1")
    page = new_context().new_page()
    page.goto(f"{server.origin}/admin/chatsessions/chatsession/")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Select session to view")).to_be_visible()
    return page


def test_a_session_in_the_admin(admin: Page, open_chat: Callable[..., Chat]) -> None:
    """The list shows the live session, its page the conversation, its values, and no markup."""
    chat = open_chat("counter")
    chat.say("<b>hello</b>")
    expect(chat.contents).to_have_count(3)
    admin.reload()
    admin.get_by_role("link", name=chat.session[:8]).click()
    transcript = admin.locator("#transcript")
    for text in chat.texts():
        expect(transcript.get_by_text(text, exact=True)).to_be_visible()
    expect(admin.locator("#user-session")).to_contain_text("message_count")
    expect(admin.locator("#facts")).to_contain_text("connected", ignore_case=True)


def test_an_administrator_ends_a_session(
    server: Server, admin: Page, open_chat: Callable[..., Chat]
) -> None:
    """The live page is told at once, and can only begin anew."""
    chat = open_chat("counter")
    chat.say("hello")
    expect(chat.contents).to_have_count(3)
    session = chat.session
    admin.goto(f"{server.origin}/admin/chatsessions/chatsession/{session}/change/")
    admin.locator("summary", has_text="End session").click()
    admin.get_by_role("button", name="Yes, end it").click()
    expect(admin.get_by_text("1 session was ended.")).to_be_visible()
    expect(chat.banner).to_contain_text("This conversation was ended by an administrator.")
    chat.is_("Ended")
    expect(chat.contents).to_have_count(3)
    assert server.database.session(session)["end_reason"] == "admin"
    chat.press("Start a new conversation")
    chat.shows("Hi! I'll count how many messages you send.")
    assert chat.session != session


def test_a_session_ended_while_nobody_was_there(
    server: Server, admin: Page, open_chat: Callable[..., Chat]
) -> None:
    """The same from the list, with the client away: on its return the page says what happened."""
    chat = open_chat("counter")
    chat.say("hello")
    expect(chat.contents).to_have_count(3)
    session, url = chat.session, chat.page.url
    chat.page.goto("about:blank")
    admin.reload()
    admin.get_by_role("row", name=session[:8]).get_by_role("checkbox").check()
    admin.get_by_role("combobox").select_option("End selected sessions")
    admin.get_by_title("Run the selected action").click()
    expect(admin.get_by_text("1 session was ended.")).to_be_visible()
    chat.page.goto(url)
    expect(chat.notes).to_have_text("Your earlier conversation has ended. This is a new one.")
    chat.shows("Hi! I'll count how many messages you send.")

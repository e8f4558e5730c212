"""Conversations that are over, taken over, or not given at all."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.server.harness import Server

from .chat import GREETING, Chat, Line, counted, duplicate
from .conftest import log_in

pytestmark = pytest.mark.browser

TAKEN = "This conversation is open in another tab or on another device."
#: What a page may do with an element.
MOVES = {
    "moved": """chat => {
      const main = document.createElement("main");
      document.body.append(main);
      main.append(chat);
    }""",
    "put back": """async chat => {
      const parent = chat.parentElement;
      chat.remove();
      await new Promise((resolve) => setTimeout(resolve));
      parent.append(chat);
    }""",
}


def test_a_duplicated_tab_begins_its_own_conversation(
    server: Server, open_chat: Callable[..., Chat]
) -> None:
    """The other goes on undisturbed, and each has its own after a reload, of both."""
    old = open_chat("counter")
    old.say("one")
    old.shows(GREETING, "one", counted(1))
    new = Chat(duplicate(old.page))
    new.shows(GREETING)
    assert new.session != old.session
    new.say("mine")
    new.shows(GREETING, "mine", counted(1))
    old.is_("Online")
    sessions = [old.session, new.session]
    for chat in (old, new, old):
        chat.reload()
        chat.is_("Online")
    assert [old.session, new.session] == sessions
    old.say("two")
    old.shows(GREETING, "one", counted(1), "two", counted(2))
    new.shows(GREETING, "mine", counted(1))
    old.shows_what_is_stored(server.database)


def test_two_chats_of_one_kind_on_a_page(server: Server, page: Page) -> None:
    """Each has its own conversation, also after a reload; an id is what it is known by."""
    page.goto(f"{server.origin}/twins/")
    chats = [Chat(page, page.locator("chat-session").nth(index)) for index in range(3)]
    expect(chats[2].input).to_have_attribute("placeholder", "Count me")
    for number, chat in enumerate(chats):
        chat.say(f"to {number}")
        chat.shows(GREETING, f"to {number}", counted(1))
    sessions = [chat.session for chat in chats]
    assert len(set(sessions)) == 3
    page.reload()
    for number, chat in enumerate(chats):
        chat.shows(GREETING, f"to {number}", counted(1))
        chat.is_("Online")
    assert [chat.session for chat in chats] == sessions
    page.goto(f"{server.origin}/twins/?first=third")
    third = Chat(page, page.locator("#third"))
    third.shows(GREETING, "to 2", counted(1))
    assert third.session == sessions[2]


@pytest.mark.usefixtures("without_tls")
def test_a_duplicated_tab_takes_over(server: Server, open_chat: Callable[..., Chat]) -> None:
    """
    Two tabs with one session do not fight: the newer has it, the older says so and offers to take
    it back, as often as one likes. It does not come back by itself, wherever its element is moved
    to; but a reload is a wish.
    """
    old = open_chat("counter")
    old.say("one")
    old.shows(GREETING, "one", counted(1))
    old.press("End chat")
    new = Chat(duplicate(old.page))
    expect(old.banner).to_contain_text(TAKEN)
    old.is_("Open elsewhere")
    expect(old.input).to_be_hidden()
    expect(old.element.get_by_role("dialog")).to_be_hidden()
    expect(old.element.get_by_role("button", name="Use it here")).to_be_focused()
    new.shows(GREETING, "one", counted(1))
    assert new.session == old.session

    sockets: list[str] = []
    old.page.on("websocket", lambda socket: sockets.append(socket.url))
    for move in MOVES.values():
        old.element.evaluate(move)
        expect(old.banner).to_contain_text(TAKEN)
    new.say("two")
    new.shows(GREETING, "one", counted(1), "two", counted(2))
    assert sockets == []

    old.press("Use it here")
    expect(new.banner).to_contain_text(TAKEN)
    expect(old.input).to_be_focused()
    old.shows(GREETING, "one", counted(1), "two", counted(2))
    old.say("three")
    old.shows(GREETING, "one", counted(1), "two", counted(2), "three", counted(3))
    new.press("Use it here")
    new.say("four")
    expect(new.contents.last).to_have_text(counted(4))
    new.shows_what_is_stored(server.database)

    # The older tab keeps the way into the session, through every change of the token.
    session = old.session
    old.reload()
    old.shows_what_is_stored(server.database)
    assert old.session == session
    expect(new.banner).to_contain_text(TAKEN)


@pytest.mark.usefixtures("without_tls")
def test_two_tabs_that_count_at_once(server: Server, page: Page) -> None:
    """
    What is written without a line in one of them is sent, though the other has given its number
    to something else meanwhile.
    """
    line = Line(page)
    page.goto(f"{server.origin}/chat/echo/")
    old = Chat(page)
    old.is_("Online")
    new = Chat(duplicate(page))
    new.is_("Online")
    old.press("Use it here")
    old.is_("Online")
    line.cut()
    old.say("on the train")
    new.press("Use it here")
    new.is_("Online")
    new.element.evaluate("e => e.client.send('settings', { voice: 'loud' })")
    expect(new.contents.last).to_have_text("From now on: loud, 1 time(s).")
    line.mend()
    expect(old.contents.last).to_have_text("ON THE TRAIN")
    expect(old.waiting).to_have_count(0)
    old.shows_what_is_stored(server.database)


def test_a_conversation_is_ended(server: Server, open_chat: Callable[..., Chat]) -> None:
    """
    It is asked for once more, in a dialog that keeps the focus and gives it back. Then it is over,
    can be read, and makes room for a new one.
    """
    chat = open_chat("counter")
    chat.say("one")
    chat.shows(GREETING, "one", counted(1))
    session = chat.session
    keyboard = chat.page.keyboard
    end = chat.element.get_by_role("button", name="End chat")
    keep, confirm = (
        chat.element.get_by_role("button", name=name) for name in ("Keep talking", "End it now")
    )
    end.focus()
    keyboard.press("Enter")
    expect(keep).to_be_focused()
    keyboard.press("Tab")
    expect(confirm).to_be_focused()
    keyboard.press("Escape")
    expect(end).to_be_focused()
    end.click()
    keep.click()
    expect(chat.element.get_by_role("dialog")).to_be_hidden()
    chat.is_("Online")

    end.focus()
    for key in ("Enter", "Tab", "Enter"):
        keyboard.press(key)
    expect(chat.banner).to_contain_text("You have ended this conversation.")
    chat.is_("Ended")
    expect(chat.input).to_be_hidden()
    expect(end).to_be_hidden()
    expect(chat.element.get_by_role("button", name="Start a new conversation")).to_be_focused()
    assert server.database.session(session)["end_reason"] == "user"
    # It is still over where its element is moved to.
    sockets: list[str] = []
    chat.page.on("websocket", lambda socket: sockets.append(socket.url))
    for move in MOVES.values():
        chat.element.evaluate(move)
        chat.is_("Ended")
        chat.shows(GREETING, "one", counted(1))
    assert (chat.session, sockets) == (session, [])

    chat.press("Start a new conversation")
    chat.shows(GREETING)
    expect(chat.input).to_be_focused()
    expect(chat.notes).to_have_count(0)
    assert chat.session != session
    chat.say("anew")
    chat.shows(GREETING, "anew", counted(1))


def test_coming_back_to_a_conversation_that_is_gone(
    server: Server, open_chat: Callable[..., Chat]
) -> None:
    """
    A page that comes back too late, or of which the server knows nothing any more, gets a new
    conversation, and says once what became of the old.
    """
    chat = open_chat("counter")
    chat.shows(GREETING)
    session, url = chat.session, chat.page.url
    chat.leave(server.database)
    server.database.update_session(
        session, status="ended", end_reason="admin", ended_at="2026-01-01"
    )
    chat.page.goto(url)
    expect(chat.notes).to_have_text("Your earlier conversation has ended. This is a new one.")
    chat.shows(GREETING)
    assert chat.session != session
    chat.reload()
    chat.shows(GREETING)
    expect(chat.notes).to_have_count(0)

    pk = UUID(chat.session).hex
    chat.leave(server.database)
    server.database.execute("DELETE FROM chatsessions_sessionevent WHERE session_id = ?", pk)
    server.database.execute("DELETE FROM chatsessions_chatsession WHERE id = ?", pk)
    chat.page.goto(url)
    expect(chat.notes).to_contain_text("could not be continued")
    chat.shows(GREETING)


def test_more_conversations_than_allowed(
    server: Server, context: BrowserContext, open_chat: Callable[..., Chat]
) -> None:
    """Who has too many open is told so; when one has ended, trying again works."""
    log_in(server, context)
    first = open_chat("counter")
    first.shows(GREETING)
    second = open_chat("counter")
    expect(second.banner).to_contain_text("You have too many open conversations.")
    second.is_("Not available")
    expect(second.input).to_be_hidden()
    expect(second.log.get_by_text("Connecting…")).to_be_hidden()
    first.end()
    second.press("Try again")
    second.shows(GREETING)
    expect(second.input).to_be_focused()

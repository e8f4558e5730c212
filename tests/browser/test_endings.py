"""Conversations that are over, or taken over."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.server.harness import Server

from .chat import GREETING, Chat, counted, duplicate

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


SWAPS = {
    "at once": "chat => chat.replaceWith(chat.cloneNode())",
    "the new one first": """chat => {
      const template = document.createElement("template");
      template.innerHTML = chat.outerHTML;
      chat.before(template.content);
      chat.remove();
    }""",
    "a copy first": "chat => { chat.before(chat.cloneNode()); chat.remove(); }",
    "with all around it": "chat => { document.body.innerHTML = chat.outerHTML; }",
}


@pytest.mark.parametrize("swap", SWAPS)
def test_an_element_in_the_place_of_another_goes_on_with_its_conversation(
    swap: str, server: Server, page: Page
) -> None:
    """As on pages of which a script changes a part, such as HTMX or Turbo."""
    chat = Chat.at(page, f"{server.origin}/twins/?first=desk")
    chat.say("one")
    chat.shows(GREETING, "one", counted(1))
    chat.input.fill("half a mess")
    session = chat.session
    for _ in range(2):
        chat.element.evaluate(SWAPS[swap])
        chat.shows(GREETING, "one", counted(1))
        expect(chat.input).to_have_value("half a mess")
        assert chat.session == session
    chat.say("two")
    chat.shows(GREETING, "one", counted(1), "two", counted(2))


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

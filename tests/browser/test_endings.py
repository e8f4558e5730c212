"""Conversations that are over, taken over, or not given at all."""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.server.harness import Server

from .chat import PATIENCE, Chat, Line, duplicate

pytestmark = pytest.mark.browser

GREETING = "Hi! I'll count how many messages you send."
TAKEN = "This conversation is open in another tab or on another device."


def counted(n: int) -> str:
    return f"You have sent {n} message(s)!"


def leave(chat: Chat, server: Server) -> None:
    """Go to another page, and wait until no worker holds the session."""
    session = chat.session
    chat.page.goto("about:blank")
    deadline = time.monotonic() + PATIENCE
    while server.database.session(session)["worker_id"] is not None:
        assert time.monotonic() < deadline, "the session is still held"
        chat.page.wait_for_timeout(20)


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
    it back, as often as one likes.
    """
    old = open_chat("counter")
    old.say("one")
    old.shows(GREETING, "one", counted(1))
    new = Chat(duplicate(old.page))
    expect(old.banner).to_contain_text(TAKEN)
    expect(old.input).to_be_hidden()
    new.shows(GREETING, "one", counted(1))
    assert new.session == old.session
    new.say("two")
    new.shows(GREETING, "one", counted(1), "two", counted(2))

    connections = server.database.session(old.session)["connections"]
    old.page.wait_for_timeout(500)  # the first retries would come within it
    expect(old.banner).to_contain_text(TAKEN)
    assert server.database.session(old.session)["connections"] == connections

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


@pytest.mark.usefixtures("without_tls")
def test_a_reload_of_the_tab_that_lost_takes_the_session_back(
    open_chat: Callable[..., Chat],
) -> None:
    """The older tab keeps the way into the session, through every change of the token."""
    old = open_chat("counter")
    old.shows(GREETING)
    new = Chat(duplicate(old.page))
    new.say("one")
    new.shows(GREETING, "one", counted(1))
    session = old.session
    old.reload()
    old.shows(GREETING, "one", counted(1))
    assert old.session == session
    expect(new.banner).to_contain_text(TAKEN)


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


@pytest.mark.parametrize("move", MOVES)
def test_a_conversation_that_is_over_is_still_over_where_its_element_is_moved_to(
    move: str, open_chat: Callable[..., Chat]
) -> None:
    chat = open_chat("counter")
    chat.shows(GREETING)
    session = chat.session
    chat.press("End chat")
    chat.press("End it now")
    chat.is_("Ended")
    sockets: list[str] = []
    chat.page.on("websocket", lambda socket: sockets.append(socket.url))
    chat.element.evaluate(MOVES[move])
    chat.is_("Ended")
    chat.shows(GREETING)
    assert (chat.session, sockets) == (session, [])
    chat.press("Start a new conversation")
    chat.shows(GREETING)
    assert chat.session != session


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.usefixtures("without_tls")
def test_a_tab_that_lost_the_session_does_not_take_it_because_its_element_is_moved(
    move: str, open_chat: Callable[..., Chat]
) -> None:
    old = open_chat("counter")
    old.shows(GREETING)
    new = Chat(duplicate(old.page))
    expect(old.banner).to_contain_text(TAKEN)
    sockets: list[str] = []
    old.page.on("websocket", lambda socket: sockets.append(socket.url))
    old.element.evaluate(MOVES[move])
    expect(old.banner).to_contain_text(TAKEN)
    new.say("one")
    new.shows(GREETING, "one", counted(1))
    assert sockets == []
    old.press("Use it here")
    old.shows(GREETING, "one", counted(1))


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


def test_ending_a_conversation(server: Server, open_chat: Callable[..., Chat]) -> None:
    """It is asked for once more; then it is over, can be read, and makes room for a new one."""
    chat = open_chat("counter")
    chat.say("one")
    chat.shows(GREETING, "one", counted(1))
    session = chat.session

    chat.press("End chat")
    dialog = chat.element.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.get_by_role("button", name="Keep talking")).to_be_focused()
    chat.press("Keep talking")
    expect(dialog).to_be_hidden()
    chat.is_("Online")

    chat.press("End chat")
    chat.press("End it now")
    expect(chat.banner).to_contain_text("You have ended this conversation.")
    chat.is_("Ended")
    expect(chat.input).to_be_hidden()
    expect(chat.element.get_by_role("button", name="End chat")).to_be_hidden()
    chat.shows(GREETING, "one", counted(1))
    assert server.database.session(session)["end_reason"] == "user"

    chat.press("Start a new conversation")
    chat.shows(GREETING)
    expect(chat.input).to_be_focused()
    expect(chat.notes).to_have_count(0)
    assert chat.session != session
    chat.say("anew")
    chat.shows(GREETING, "anew", counted(1))


def test_escape_does_not_end_a_conversation(open_chat: Callable[..., Chat]) -> None:
    """Escape closes the question, and the conversation goes on."""
    chat = open_chat("counter")
    chat.is_("Online")
    chat.press("End chat")
    chat.page.keyboard.press("Escape")
    expect(chat.element.get_by_role("dialog")).to_be_hidden()
    chat.say("one")
    chat.shows(GREETING, "one", counted(1))


def test_ending_while_the_line_is_down(server: Server, page: Page) -> None:
    """The end is not forgotten until it can be told."""
    line = Line(page)
    page.goto(f"{server.origin}/chat/counter/")
    chat = Chat(page)
    chat.shows(GREETING)
    line.cut()
    chat.press("End chat")
    chat.press("End it now")
    line.mend()
    expect(chat.banner).to_contain_text("You have ended this conversation.")
    assert server.database.session(chat.session)["end_reason"] == "user"


def test_coming_back_to_a_conversation_that_has_ended(
    server: Server, open_chat: Callable[..., Chat]
) -> None:
    """A page that comes back too late gets a new conversation, and says what became of the old."""
    chat = open_chat("counter")
    chat.say("one")
    chat.shows(GREETING, "one", counted(1))
    session, url = chat.session, chat.page.url
    leave(chat, server)
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


def test_coming_back_to_a_conversation_that_is_unknown(
    server: Server, open_chat: Callable[..., Chat]
) -> None:
    """The same for one of which the server knows nothing any more."""
    chat = open_chat("counter")
    chat.shows(GREETING)
    url, pk = chat.page.url, UUID(chat.session).hex
    leave(chat, server)
    server.database.execute("DELETE FROM chatsessions_sessionevent WHERE session_id = ?", pk)
    server.database.execute("DELETE FROM chatsessions_chatsession WHERE id = ?", pk)
    chat.page.goto(url)
    expect(chat.notes).to_contain_text("could not be continued")
    chat.shows(GREETING)


def test_more_conversations_than_allowed(
    server: Server, context: BrowserContext, open_chat: Callable[..., Chat]
) -> None:
    """Who has too many open is told so; when one has ended, trying again works."""
    name, value = server.login().split("=")
    context.add_cookies([{"name": name, "value": value, "url": server.origin}])
    first = open_chat("counter")
    first.shows(GREETING)
    second = open_chat("counter")
    expect(second.banner).to_contain_text("You have too many open conversations.")
    second.is_("Not available")
    expect(second.input).to_be_hidden()
    expect(second.log.get_by_text("Connecting…")).to_be_hidden()
    first.press("End chat")
    first.press("End it now")
    first.is_("Ended")
    second.press("Try again")
    second.shows(GREETING)
    expect(second.input).to_be_focused()

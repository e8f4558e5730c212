"""Earlier conversations of who is logged in; and what becomes of a page whose login is over."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from playwright.sync_api import BrowserContext, Page, Route, WebSocketRoute, expect

from tests.server.harness import Server

from .chat import Chat, next_of
from .conftest import log_in

pytestmark = pytest.mark.browser

GREETING = "Tell me something. I forget nothing that you say here."


@pytest.fixture
def member(server: Server, context: BrowserContext) -> str:
    """Somebody new who is logged in."""
    return log_in(server, context)


def tell(chat: Chat, text: str, count: int) -> None:
    chat.say(text)
    expect(chat.contents.last).to_contain_text(f"That makes {count}.")
    expect(chat.streaming).to_have_count(0)


def open_threads(chat: Chat) -> None:
    chat.press("Earlier conversations")
    expect(chat.element.get_by_role("dialog", name="Earlier conversations")).to_be_visible()


def test_a_new_conversation_is_begun_once(member: str, server: Server, page: Page) -> None:
    """By a double click, and by a click while what the server says of it is on its way."""
    slow = False
    held: list[Callable[[], None]] = []

    def follow(socket: WebSocketRoute) -> None:
        def pass_on(message: str | bytes) -> None:
            send = partial(socket.send, message)
            if slow:
                held.append(send)
            else:
                send()

        socket.connect_to_server().on_message(pass_on)

    def begun() -> int:
        query = "SELECT id FROM chatsessions_chatsession WHERE user_id = ?"
        return len(server.database.query(query, server.database.user_id(member)))

    page.route_web_socket("**/ws/**", follow)
    chat = Chat.at(page, f"{server.origin}/chat/assistant/")
    chat.shows(GREETING)
    # It has begun when the second click comes.
    chat.element.get_by_role("button", name="New conversation").dblclick(delay=300)
    tell(chat, "hello", 1)
    assert begun() == 2

    slow = True
    chat.press("New conversation")
    welcome = next_of(held, page)
    chat.press("New conversation")
    slow = False
    for send in (welcome, *held):
        send()
    chat.shows(GREETING)
    tell(chat, "hello", 1)
    assert begun() == 3


#: The address of a part of an earlier conversation.
PART = re.compile(r"/threads/[\w-]+/\?before=")


def part(*texts: str, before: str | None = None) -> dict[str, Any]:
    """What the server says of an earlier conversation. ``before``: there is still more."""
    return {"messages": [{"content": text} for text in texts], "before": before}


@pytest.mark.usefixtures("member")
def test_the_beginning_of_an_earlier_conversation(
    context: BrowserContext, open_chat: Callable[..., Chat]
) -> None:
    """
    An earlier conversation goes on, with what was said before above: it comes once, after what
    failed too, and above the reader, who stays where they are.
    """
    chat = open_chat("assistant")
    tell(chat, "the <i>first</i>", 1)
    chat.press("New conversation")
    chat.shows(GREETING)
    open_threads(chat)
    chat.element.locator("[part=thread]").last.click()
    before = chat.log.locator("[part=earlier] [part=content]")
    expect(before).to_have_count(3)
    expect(before.nth(1)).to_have_text("the <i>first</i>")
    again = "There you are again. We spoke of “the <i>first</i>”."
    expect(chat.log.locator("[part=list] [part=content]")).to_have_text([again])
    tell(chat, "and more", 2)

    # Because the log began anew while they were on their way, or by a double click.
    more = chat.element.get_by_role("button", name="Show earlier messages")
    asked: list[Route] = []
    context.route(PART, lambda route: asked.append(route))
    chat.reload()
    expect(chat.contents.last).to_contain_text("That makes 2.")
    chat.element.evaluate(
        """({ client }) => {
          client.dispatchEvent(new CustomEvent("reset", { detail: { reason: "gap" } }));
          client.dispatchEvent(new CustomEvent("ready"));
        }"""
    )
    expect(chat.notes).to_have_text("Earlier messages are no longer available.")
    for _ in range(2):
        next_of(asked, chat.page).fulfill(json=part("three", "four", before="a:1"))
    expect(before).to_have_text(["three", "four"])
    more.dblclick()
    expect(chat.log.get_by_text("Loading…")).to_be_visible()
    assert len(asked) == 1
    asked.pop().fulfill(json=part("one", "two"))
    expect(before).to_have_text(["one", "two", "three", "four"])
    expect(more).to_be_hidden()
    expect(chat.log.get_by_text("Loading…")).to_have_count(0)

    # What failed is said beside them, until it does not fail; then the focus is in the log.
    chat.reload()
    failed = chat.log.get_by_text("The earlier messages could not be loaded.")
    for _ in range(2):
        next_of(asked, chat.page).abort("connectionrefused")
        expect(failed).to_be_visible()
        more.press("Enter")
        expect(failed).to_have_count(0)
    late, early = ([f"{word} {number}" for number in range(60)] for word in ("late", "early"))
    next_of(asked, chat.page).fulfill(json=part(*late, before="a:1"))
    expect(before).to_have_text(late)
    more.scroll_into_view_if_needed()
    read = before.first.evaluate_handle("element => element")
    place = "element => element.getBoundingClientRect().top"
    was = read.evaluate(place)
    more.press("Enter")
    next_of(asked, chat.page).fulfill(json=part(*early))
    expect(before).to_have_text([*early, *late])
    assert abs(read.evaluate(place) - was) < 60, "the reader was moved"
    expect(more).to_be_hidden()
    expect(chat.log).to_be_focused()
    expect(chat.notes).to_have_count(0)


def remember(server: Server, chat: Chat, titles: list[str]) -> None:
    """The user has had other conversations before, the last title's the day before today's."""
    session = chat.session.replace("-", "")
    [row] = server.database.query("SELECT * FROM chatsessions_chatsession WHERE id = ?", session)
    for age, title in enumerate(reversed(titles), start=1):
        copy = row | {"id": uuid4().hex, "thread_id": uuid4().hex, "topic": title}
        copy |= {"status": "ended", "end_reason": "user", "worker_id": None, "running": None}
        copy["last_seen_at"] = str(datetime.now(UTC).replace(tzinfo=None) - timedelta(days=age))
        names, marks = ", ".join(copy), ", ".join("?" * len(copy))
        server.database.execute(
            f"INSERT INTO chatsessions_chatsession ({names}) VALUES ({marks})",  # noqa: S608
            *copy.values(),
        )


@pytest.mark.usefixtures("member")
def test_leafing_through_earlier_conversations(
    server: Server, open_chat: Callable[..., Chat]
) -> None:
    """
    Twenty at a time, the latest first; a search begins at its first page again. A list that is
    empty says so, and Escape leads back to where one was.
    """
    chat = open_chat("assistant")
    chat.shows(GREETING)
    open_threads(chat)
    panel = chat.element.get_by_role("dialog", name="Earlier conversations")
    shown = panel.locator("[part=thread-title]")
    status, search = panel.get_by_role("status"), panel.get_by_role("searchbox", name="Search")
    expect(status).to_have_text("There are no earlier conversations.")
    chat.page.keyboard.press("Escape")
    expect(chat.element.get_by_role("button", name="Earlier conversations")).to_be_focused()

    tell(chat, "today", 1)
    titles = [f"{'hats' if n % 2 else 'shoes'} {n:02}" for n in range(44)]
    remember(server, chat, titles)
    expected = ["today", *reversed(titles)]
    open_threads(chat)
    newer, older = (panel.get_by_role("button", name=name) for name in ("Newer", "Older"))

    expect(status).to_have_text("45 conversations, page 1 of 3")
    expect(shown).to_have_text(expected[:20])
    expect(newer).to_be_disabled()
    older.click()
    expect(status).to_have_text("45 conversations, page 2 of 3")
    expect(shown).to_have_text(expected[20:40])
    expect(older).to_be_focused()
    older.press("Enter")
    expect(status).to_have_text("45 conversations, page 3 of 3")
    expect(shown).to_have_text(expected[40:])
    # What has the focus goes no further: it is where one can go on by the keyboard.
    expect(older).to_be_disabled()
    expect(newer).to_be_focused()
    newer.press("Enter")
    expect(shown).to_have_text(expected[20:40])

    hats = [title for title in expected if "hats" in title]
    search.fill("nothing like it")
    expect(status).to_have_text("Nothing found.")
    search.fill("hats")
    expect(status).to_have_text("22 conversations, page 1 of 2")
    expect(shown).to_have_text(hats[:20])
    older.click()
    expect(shown).to_have_text(hats[20:])
    panel.get_by_role("button", name=hats[-1]).click()
    expect(panel).to_be_hidden()
    expect(chat.contents.last).to_contain_text("There you are again.")

    open_threads(chat)
    search.fill("hats 01")
    expect(status).to_have_text("1 conversation")
    expect(newer).to_be_hidden()


#: The address of the list.
LIST = re.compile(r"/threads/\?q=")


@pytest.mark.usefixtures("member")
def test_the_next_user_of_a_page_sees_no_titles_of_the_last_one_s(
    server: Server, context: BrowserContext, open_chat: Callable[..., Chat]
) -> None:
    """Neither in a list that is open, nor in one that comes late, nor while there is no other."""
    chat = open_chat("assistant")
    tell(chat, "I like hats", 1)
    open_threads(chat)
    panel = chat.element.get_by_role("dialog", name="Earlier conversations")
    titles = chat.element.locator("[part=thread-title]")
    expect(titles).to_have_text(["I like hats"])
    asked: list[Route] = []
    context.route(LIST, lambda route: asked.append(route))
    panel.get_by_role("searchbox", name="Search").fill("hats")
    late = next_of(asked, chat.page)
    log_in(server, context)
    chat.element.evaluate("({ client }) => { client.close(); client.connect(); }")
    expect(panel).to_be_hidden()
    thread = {"id": "1", "title": "I like hats", "last_seen": "2026-01-01T00:00:00Z"}
    found = {"threads": [thread], "page": 1, "pages": 1, "count": 1}
    late.fulfill(json=found)
    chat.shows(GREETING)
    open_threads(chat)
    expect(panel.get_by_role("status")).to_have_text("Loading…")
    expect(titles).to_have_count(0)
    next_of(asked, chat.page).abort("connectionrefused")
    expect(panel.get_by_role("status")).to_contain_text("could not be loaded")
    expect(titles).to_have_count(0)

    # At once when the page says that somebody else is here, before the server has said so.
    chat.page.keyboard.press("Escape")
    open_threads(chat)
    next_of(asked, chat.page).fulfill(json=found)
    expect(titles).to_have_text(["I like hats"])
    left = chat.element.evaluate(
        """element => {
          element.setAttribute("owner", "somebody else");
          const dialog = element.shadowRoot.querySelector("dialog[part~=threads]");
          return [dialog.open, dialog.textContent.includes("hats")];
        }"""
    )
    assert left == [False, False]


def test_a_login_that_is_over(
    server: Server, page: Page, new_context: Callable[..., BrowserContext]
) -> None:
    """
    It is told, with the way to the login; what was being written is there afterwards. Who never
    had a conversation is only asked to log in. Who is not logged in is offered nothing that would
    only be refused.
    """
    over: list[bool] = []

    def refuse(socket: WebSocketRoute) -> None:
        if not over:
            socket.connect_to_server()
            return
        error = '{"type": "error", "code": "unauthorized", "detail": "Log in."}'
        socket.on_message(lambda _: (socket.send(error), socket.close(code=4502)))

    page.route_web_socket("**/ws/**", refuse)
    chat = Chat.at(page, f"{server.origin}/chat/assistant/")
    chat.shows(GREETING)
    expect(chat.element.get_by_role("button", name="Earlier conversations")).to_be_hidden()
    link = page.get_by_role("link", name="Log in")
    expect(link).to_have_attribute("href", "/admin/login/?next=/chat/assistant/")
    chat.input.fill("half a thought")
    over.append(True)
    chat.element.evaluate("e => { e.client.close(); e.client.connect(); }")
    expect(chat.banner).to_contain_text("You are not logged in any more.")
    stranger = new_context().new_page()
    stranger.route_web_socket("**/ws/**", refuse)
    stranger.goto(page.url)
    expect(Chat(stranger).banner).to_contain_text("Log in to use this chat.")
    expect(Chat(stranger).banner.get_by_role("link", name="Log in")).to_be_visible()
    link = chat.banner.get_by_role("link", name="Log in")
    expect(link).to_have_attribute("href", "/admin/login/?next=%2Fchat%2Fassistant%2F")
    over.clear()
    chat.reload()
    expect(chat.input).to_have_value("half a thought")

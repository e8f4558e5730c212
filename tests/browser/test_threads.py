"""Earlier conversations of who is logged in; and what becomes of a page whose login is over."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from playwright.sync_api import BrowserContext, Page, Route, WebSocketRoute, expect

from tests.server.harness import Server

from .chat import PATIENCE, Chat

pytestmark = pytest.mark.browser

T = TypeVar("T")

GREETING = "Tell me something. I forget nothing that you say here."


@pytest.fixture
def member(server: Server, context: BrowserContext) -> str:
    """Somebody new who is logged in."""
    user = f"user-{uuid4().hex[:8]}"
    name, value = server.login(user).split("=")
    context.add_cookies([{"name": name, "value": value, "url": server.origin}])
    return user


def tell(chat: Chat, text: str, count: int) -> None:
    chat.say(text)
    expect(chat.contents.last).to_contain_text(f"That makes {count}.")
    expect(chat.streaming).to_have_count(0)


def open_threads(chat: Chat) -> None:
    chat.press("Earlier conversations")
    expect(chat.element.get_by_role("dialog", name="Earlier conversations")).to_be_visible()


@pytest.mark.slow
@pytest.mark.usefixtures("member")
def test_going_on_with_an_earlier_conversation(open_chat: Callable[..., Chat]) -> None:
    """
    A new conversation begins empty; an earlier one is found by what was said in it, and goes on,
    with what was said before above, also after a reload.
    """
    chat = open_chat("assistant")
    tell(chat, "I like <i>hats</i>", 1)
    chat.press("New conversation")
    chat.shows(GREETING)
    tell(chat, "rain again", 1)
    open_threads(chat)
    panel = chat.element.get_by_role("dialog", name="Earlier conversations")
    expect(panel.get_by_role("status")).to_have_text("2 conversations")
    search = panel.get_by_role("searchbox", name="Search")
    expect(search).to_be_focused()
    search.fill("nothing like it")
    expect(panel.get_by_role("status")).to_have_text("Nothing found.")
    search.fill("hats")
    expect(panel.get_by_role("status")).to_have_text("1 conversation")
    panel.get_by_role("button", name="I like <i>hats</i>").click()
    expect(panel).to_be_hidden()
    before = chat.log.locator("[part=earlier] [part=content]")
    for _ in range(2):
        expect(before).to_have_count(3)
        expect(before.nth(1)).to_have_text("I like <i>hats</i>")
        expect(chat.log.locator("[part=list] [part=content]").first).to_have_text(
            "There you are again. We spoke of “I like <i>hats</i>”."
        )
        chat.reload()
    tell(chat, "and scarves", 2)
    expect(chat.log.locator("[part=earlier] [part~=own]")).to_have_count(1)
    chat.press("New conversation")
    chat.shows(GREETING)
    expect(before).to_have_count(0)


def next_of(held: list[T], chat: Chat) -> T:
    """Wait for something that a test holds back, such as a request."""
    deadline = time.monotonic() + PATIENCE
    while not held:
        assert time.monotonic() < deadline, "nothing has come"
        chat.page.wait_for_timeout(20)
    return held.pop(0)


def begun(server: Server, user: str) -> int:
    """How many sessions a user has begun."""
    query = "SELECT id FROM chatsessions_chatsession WHERE user_id = ?"
    return len(server.database.query(query, server.database.user_id(user)))


def test_a_double_click_begins_one_conversation(
    member: str, server: Server, open_chat: Callable[..., Chat]
) -> None:
    """Though the conversation has begun when the second click comes."""
    chat = open_chat("assistant")
    chat.shows(GREETING)
    chat.element.get_by_role("button", name="New conversation").dblclick(delay=300)
    tell(chat, "hello", 1)
    assert begun(server, member) == 2


def test_a_click_while_a_conversation_begins_begins_no_other_one(
    member: str, server: Server, page: Page
) -> None:
    """The server has been told, and what it says is still on its way."""
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

    page.route_web_socket("**/ws/**", follow)
    page.goto(f"{server.origin}/chat/assistant/")
    chat = Chat(page)
    chat.shows(GREETING)
    slow = True
    chat.press("New conversation")
    welcome = next_of(held, chat)
    chat.press("New conversation")
    slow = False
    for send in (welcome, *held):
        send()
    tell(chat, "hello", 1)
    assert begun(server, member) == 2


@pytest.mark.usefixtures("member")
def test_who_reads_an_earlier_conversation_stays_where_they_are(
    open_chat: Callable[..., Chat],
) -> None:
    """Earlier messages come above the reader, a page at a time."""
    chat = open_chat("assistant")
    tell(chat, "the first", 1)
    chat.element.evaluate(
        "element => { for (let i = 0; i < 60; i++) element.client.sendMessage(`more ${i}`); }"
    )
    expect(chat.contents).to_have_count(123)
    expect(chat.contents.last).to_contain_text("you said: “more 58”.")
    expect(chat.streaming).to_have_count(0)
    chat.press("New conversation")
    chat.shows(GREETING)
    open_threads(chat)
    panel = chat.element.get_by_role("dialog", name="Earlier conversations")
    panel.get_by_role("button", name="the first").click()
    before = chat.log.locator("[part=earlier] [part=content]")
    expect(before.last).to_contain_text("you said: “more 58”.")
    more = chat.element.get_by_role("button", name="Show earlier messages")
    more.scroll_into_view_if_needed()
    read = before.first.evaluate_handle("element => element")
    place = "element => element.getBoundingClientRect().top"
    was = read.evaluate(place)
    assert before.count() < 123
    more.press("Enter")
    expect(more).to_be_hidden()
    expect(before).to_have_count(123)
    expect(before.nth(1)).to_have_text("the first")
    assert abs(read.evaluate(place) - was) < 60, "the reader was moved"


#: The address of a part of an earlier conversation.
PART = re.compile(r"/threads/[\w-]+/\?before=")
MORE = "Show earlier messages"


def part(*texts: str, before: str | None = None) -> dict[str, Any]:
    """What the server says of an earlier conversation. ``before``: there is still more."""
    return {"messages": [{"content": text} for text in texts], "before": before}


@pytest.fixture
def asked(context: BrowserContext) -> list[Route]:
    """The requests for parts of earlier conversations; a test answers them."""
    routes: list[Route] = []
    context.route(PART, lambda route: routes.append(route))
    return routes


@pytest.fixture
def continued(member: str, asked: list[Route], open_chat: Callable[..., Chat]) -> Chat:
    """A page on which an earlier conversation goes on; its last part was asked for."""
    chat = open_chat("assistant")
    tell(chat, "the first", 1)
    chat.press("New conversation")
    chat.shows(GREETING)
    open_threads(chat)
    chat.element.locator("[part=thread]").last.click()
    expect(chat.contents.last).to_contain_text("There you are again.")
    return chat


def test_earlier_messages_that_are_asked_for_twice_come_once(
    asked: list[Route], continued: Chat
) -> None:
    """By a double click, or because the log began anew while they were on their way."""
    chat = continued
    before = chat.log.locator("[part=earlier] [part=content]")
    chat.element.evaluate(
        """({ client }) => {
          client.dispatchEvent(new CustomEvent("reset", { detail: { reason: "gap" } }));
          client.dispatchEvent(new CustomEvent("ready"));
        }"""
    )
    expect(chat.notes).to_have_text("Earlier messages are no longer available.")
    for _ in range(2):
        next_of(asked, chat).fulfill(json=part("three", "four", before="a:1"))
    expect(before).to_have_text(["three", "four"])
    more = chat.element.get_by_role("button", name=MORE)
    more.dblclick()
    expect(chat.log.get_by_text("Loading…")).to_be_visible()
    assert len(asked) == 1
    asked.pop().fulfill(json=part("one", "two"))
    expect(before).to_have_text(["one", "two", "three", "four"])
    expect(more).to_be_hidden()
    expect(chat.log.get_by_text("Loading…")).to_have_count(0)


def test_earlier_messages_that_could_not_be_loaded_are_asked_for_again(
    asked: list[Route], continued: Chat
) -> None:
    """What failed is said beside them, until it does not fail; then the focus is in the log."""
    chat = continued
    before = chat.log.locator("[part=earlier] [part=content]")
    more = chat.element.get_by_role("button", name=MORE)
    failed = chat.log.get_by_text("The earlier messages could not be loaded.")
    for _ in range(2):
        next_of(asked, chat).abort("connectionrefused")
        expect(failed).to_be_visible()
        more.press("Enter")
        expect(failed).to_have_count(0)
    next_of(asked, chat).fulfill(json=part("three", "four", before="a:1"))
    expect(before).to_have_text(["three", "four"])
    more.press("Enter")
    next_of(asked, chat).fulfill(json=part("one", "two"))
    expect(before).to_have_text(["one", "two", "three", "four"])
    expect(more).to_be_hidden()
    expect(chat.log).to_be_focused()
    expect(chat.notes).to_have_count(0)


@pytest.mark.usefixtures("member")
def test_a_new_visitor_has_none(open_chat: Callable[..., Chat]) -> None:
    """An empty list says so; Escape leads back to where one was."""
    chat = open_chat("assistant")
    chat.shows(GREETING)
    open_threads(chat)
    panel = chat.element.get_by_role("dialog", name="Earlier conversations")
    expect(panel.get_by_role("status")).to_have_text("There are no earlier conversations.")
    chat.page.keyboard.press("Escape")
    expect(chat.element.get_by_role("button", name="Earlier conversations")).to_be_focused()


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
    """Twenty at a time, the latest first; a search begins at its first page again."""
    chat = open_chat("assistant")
    tell(chat, "today", 1)
    titles = [f"{'hats' if n % 2 else 'shoes'} {n:02}" for n in range(44)]
    remember(server, chat, titles)
    expected = ["today", *reversed(titles)]
    open_threads(chat)
    panel = chat.element.get_by_role("dialog", name="Earlier conversations")
    shown = panel.locator("[part=thread-title]")
    status, search = panel.get_by_role("status"), panel.get_by_role("searchbox", name="Search")
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
    late = next_of(asked, chat)
    name, value = server.login(f"user-{uuid4().hex[:8]}").split("=")
    context.add_cookies([{"name": name, "value": value, "url": server.origin}])
    chat.element.evaluate("({ client }) => { client.close(); client.connect(); }")
    expect(panel).to_be_hidden()
    found = {"threads": [{"id": "1", "title": "I like hats"}], "page": 1, "pages": 1, "count": 1}
    late.fulfill(json=found)
    chat.shows(GREETING)
    open_threads(chat)
    expect(panel.get_by_role("status")).to_have_text("Loading…")
    expect(titles).to_have_count(0)
    next_of(asked, chat).abort("connectionrefused")
    expect(panel.get_by_role("status")).to_contain_text("could not be loaded")
    expect(titles).to_have_count(0)


@pytest.mark.usefixtures("member")
def test_titles_are_gone_when_the_page_says_that_somebody_else_is_here(
    open_chat: Callable[..., Chat],
) -> None:
    """At once, before the server has said so."""
    chat = open_chat("assistant")
    tell(chat, "I like hats", 1)
    open_threads(chat)
    expect(chat.element.locator("[part=thread-title]")).to_have_text(["I like hats"])
    left = chat.element.evaluate(
        """element => {
          element.setAttribute("owner", "somebody else");
          const dialog = element.shadowRoot.querySelector("dialog[part~=threads]");
          return [dialog.open, dialog.textContent.includes("hats")];
        }"""
    )
    assert left == [False, False]


def test_who_is_not_logged_in_is_shown_the_way(open_chat: Callable[..., Chat]) -> None:
    """Nothing is offered that would only be refused; the page says how to get it."""
    chat = open_chat("assistant")
    chat.shows(GREETING)
    expect(chat.element.get_by_role("button", name="Earlier conversations")).to_be_hidden()
    link = chat.page.get_by_role("link", name="Log in")
    expect(link).to_have_attribute("href", "/admin/login/?next=/chat/assistant/")


def test_a_login_that_is_over(
    server: Server, page: Page, new_context: Callable[..., BrowserContext]
) -> None:
    """
    It is told, with the way to the login; what was being written is there afterwards. Who never
    had a conversation is only asked to log in.
    """
    over: list[bool] = []

    def refuse(socket: object) -> None:
        if not over:
            socket.connect_to_server()  # type: ignore[attr-defined]
            return
        error = '{"type": "error", "code": "unauthorized", "detail": "Log in."}'
        socket.on_message(lambda _: (socket.send(error), socket.close(code=4502)))  # type: ignore[attr-defined]

    page.route_web_socket("**/ws/**", refuse)
    page.goto(f"{server.origin}/chat/assistant/")
    chat = Chat(page)
    chat.shows(GREETING)
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

"""Earlier conversations of who is logged in; and what becomes of a page whose login is over."""

from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.server.harness import Server

from .chat import Chat

pytestmark = pytest.mark.browser

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


def test_who_is_not_logged_in_is_shown_the_way(open_chat: Callable[..., Chat]) -> None:
    """Nothing is offered that would only be refused; the page says how to get it."""
    chat = open_chat("assistant")
    chat.shows(GREETING)
    expect(chat.element.get_by_role("button", name="Earlier conversations")).to_be_hidden()
    link = chat.page.get_by_role("link", name="Log in")
    expect(link).to_have_attribute("href", "/admin/login/?next=/chat/assistant/")


def test_a_login_that_is_over(server: Server, page: Page) -> None:
    """It is told, with the way to the login; what was being written is there afterwards."""
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
    link = chat.banner.get_by_role("link", name="Log in")
    expect(link).to_have_attribute("href", "/admin/login/?next=%2Fchat%2Fassistant%2F")
    over.clear()
    chat.reload()
    expect(chat.input).to_have_value("half a thought")

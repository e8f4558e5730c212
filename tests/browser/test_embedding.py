"""The template tag on pages of other people."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, WebSocketRoute, expect

from tests.server.harness import Server

from .chat import GREETING, Chat, counted, next_of
from .conftest import CHANCE

pytestmark = pytest.mark.browser


def test_moved_removed_and_put_back(open_chat: Callable[..., Chat]) -> None:
    """Moving the element keeps its line; taking it out hangs up; putting it back goes on."""
    chat = open_chat(path="/bare/")
    chat.say("hello")
    chat.shows("hello", "hello", "hello")
    session = chat.session
    sockets: list[str] = []
    chat.page.on("websocket", lambda socket: sockets.append(socket.url))
    chat.page.evaluate(
        "document.body.append(document.createElement('main'));"
        "document.querySelector('main').append(document.querySelector('chat-session'))"
    )
    chat.say("moved")
    chat.shows(*["hello"] * 3, *["moved"] * 3)
    assert sockets == []
    state = chat.page.evaluate(
        """async () => {
          window.chat = document.querySelector("chat-session");
          chat.remove();
          await new Promise((resolve) => setTimeout(resolve));
          return chat.client.state.state;
        }"""
    )
    assert state == "closed"
    chat.page.evaluate("document.body.append(chat)")
    chat.is_("Online")
    chat.say("back")
    chat.shows(*["hello"] * 3, *["moved"] * 3, *["back"] * 3)
    assert chat.session == session

    # A new source is a new chat in the same element.
    chat.element.evaluate("chat => chat.setAttribute('src', '/ws/counter/')")
    chat.shows(GREETING)
    chat.element.evaluate("chat => chat.setAttribute('src', '/ws/parrot/')")
    chat.shows(*["hello"] * 3, *["moved"] * 3, *["back"] * 3)
    chat.element.evaluate(
        """chat => {
          const { parentNode } = chat;
          chat.remove();
          chat.setAttribute("src", "/ws/counter/");
          parentNode.append(chat);
        }"""
    )
    chat.shows(GREETING)


def test_an_address_without_a_slash_is_resolved_as_a_link_is(
    open_chat: Callable[..., Chat],
) -> None:
    """Against the document, which may have a base, and not against the address of the page."""
    chat = open_chat(path="/pages/relative/")
    chat.is_("Online")
    chat.page.wait_for_function("client.state.state === 'online'")


def test_a_page_of_another_host(server: Server, browser: Browser) -> None:
    """
    It is kept out, and nothing tells it why: the console says once what that may be. Where the page
    has not been welcomed yet no connection is lost: it cannot connect.
    """
    page = browser.new_page()
    page.add_init_script(CHANCE)
    element = urlopen(f"{server.origin}/static/chatsessions/chat-session.js").read()  # noqa: S310
    address = server.origin.replace("http", "ws") + "/ws/counter/"
    page.route(
        "**/chat.js", lambda route: route.fulfill(body=element, content_type="text/javascript")
    )
    body = f'<script type="module" src="/chat.js"></script><chat-session src="{address}">'
    page.route("**/page/", lambda route: route.fulfill(body=body, content_type="text/html"))
    said: list[str] = []
    page.on("console", lambda it: "cannot connect" in it.text and said.append(it.text))
    chat = Chat.at(page, "http://elsewhere.example/page/")
    expect(chat.banner).to_contain_text(re.compile(r"^Cannot connect\. Next try in \d+\ss\."))
    expect(chat.log.get_by_text("Connecting…")).to_be_hidden()
    explained = next_of(said, page)
    chat.element.get_by_role("button", name="Try now").click()
    expect(chat.banner).to_contain_text("Next try in")
    assert said == []
    for cause in (address, "INSTALLED_APPS", "elsewhere.example is not in ALLOWED_HOSTS"):
        assert cause in explained
    page.close()


def test_a_server_that_does_not_answer_or_refuses(server: Server, page: Page) -> None:
    """
    Until it answers the page says so, and one can write already. A page that is not wanted says
    why, and does not knock again by itself.
    """
    refusals = {
        4502: "You are not allowed to use this chat. You may have to log in first.",
        4504: "You have too many open conversations.",
        4500: "This chat is not available.",
    }
    answers: list[int | None] = []
    attempts: list[str] = []

    def line(socket: WebSocketRoute) -> None:
        attempts.append(socket.url)
        if not answers:
            return
        code = answers[-1]
        if code is None:
            socket.connect_to_server()
        else:
            socket.on_message(lambda _: socket.close(code=code))

    page.route_web_socket("**/ws/**", line)
    chat = Chat.at(page, f"{server.origin}/chat/counter/")
    chat.is_("Connecting…")
    expect(chat.log.get_by_text("Connecting…")).to_be_visible()
    expect(chat.banner).to_be_hidden()
    chat.say("early")
    expect(chat.waiting).to_contain_text("early")
    come_back = chat.reload
    for code, words in refusals.items():
        answers.append(code)
        attempts.clear()
        come_back()
        expect(chat.banner).to_contain_text(words)
        chat.is_("Not available")
        expect(chat.input).to_be_hidden()
        expect(chat.log.get_by_text("Connecting…")).to_be_hidden()
        assert len(attempts) == 1
        come_back = partial(chat.press, "Try again")
    answers.append(None)
    chat.press("Try again")
    chat.shows(GREETING, "early", counted(1))
    expect(chat.input).to_be_focused()


def test_a_server_that_can_open_no_session_for_a_while(server: Server, page: Page) -> None:
    """The page comes back by itself, and says nothing of messages: there are none."""
    attempts: list[str] = []
    error = {"type": "error", "code": "storage_unavailable", "detail": "Try again in a moment."}

    def line(socket: WebSocketRoute) -> None:
        def refuse(_: object) -> None:
            socket.send(json.dumps(error))
            socket.close(code=4000)

        attempts.append("")
        if len(attempts) > 3:
            socket.connect_to_server()
        else:
            socket.on_message(refuse)

    page.route_web_socket("**/ws/**", line)
    chat = Chat.at(page, f"{server.origin}/chat/counter/")
    chat.shows(GREETING)
    assert len(attempts) == 4
    expect(chat.element.get_by_role("alert")).to_have_count(0)


def test_the_chat_keeps_away_from_the_edges_of_a_wide_window(
    server: Server, new_context: Callable[..., BrowserContext]
) -> None:
    """On the page that ``chatsessions run`` and ``ChatPage`` have."""
    page = new_context(viewport={"width": 1100, "height": 700}).new_page()
    page.goto(f"{server.origin}/page/")
    box = page.locator("chat-session").bounding_box()
    assert box
    assert box["y"] == 700 - box["y"] - box["height"] == 20

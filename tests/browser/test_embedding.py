"""The template tag on pages of other people."""

from __future__ import annotations

from collections.abc import Callable
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from tests.server.harness import Server

from .chat import Chat
from .conftest import CHANCE

pytestmark = pytest.mark.browser


def test_a_bare_page(open_chat: Callable[..., Chat]) -> None:
    """One tag on an otherwise empty page is a whole chat."""
    chat = open_chat(path="/bare/")
    expect(chat.element.get_by_role("region", name="Conversation")).to_be_visible()
    chat.say("hello")
    chat.shows("hello", "hello", "hello")
    box = chat.element.bounding_box()
    assert box is not None
    assert box["height"] >= 18 * 16


@pytest.mark.parametrize("policy", ["source", "nonce"])
def test_a_strict_content_security_policy(policy: str, open_chat: Callable[..., Chat]) -> None:
    """No inline script, no inline style: the browser has nothing to complain about."""
    chat = open_chat(path=f"/csp/{policy}/")
    chat.say("one\ntwo")
    expect(chat.contents).to_have_count(3)
    expect(chat.streaming).to_have_count(0)
    assert chat.texts() == ["one\ntwo"] * 3
    styled = chat.element.locator("[part=chat]").evaluate("chat => getComputedStyle(chat).display")
    assert styled == "flex"
    chat.press("End chat")
    chat.press("End it now")
    chat.is_("Ended")


def test_two_chats_on_one_page(server: Server, page: Page) -> None:
    """Each has its own session, also after a reload."""
    page.goto(f"{server.origin}/two/")
    one, two = (Chat(page, page.locator("chat-session").nth(index)) for index in (0, 1))
    expect(two.input).to_have_attribute("placeholder", "Count me")
    for _ in range(2):
        one.is_("Online")
        two.is_("Online")
        one.say("for one")
        expect(one.waiting).to_have_count(0)
        page.reload()
    one.shows(
        "Hi! I'll count how many messages you send.",
        *("for one", "You have sent 1 message(s)!"),
        *("for one", "You have sent 2 message(s)!"),
    )
    two.shows("Hello! I count your messages.")


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


def test_another_source(open_chat: Callable[..., Chat]) -> None:
    """A new ``src`` is a new chat in the same element."""
    chat = open_chat(path="/bare/")
    chat.say("hello")
    chat.shows("hello", "hello", "hello")
    chat.element.evaluate("chat => chat.setAttribute('src', '/ws/counter/')")
    chat.shows("Hi! I'll count how many messages you send.")
    chat.element.evaluate("chat => chat.setAttribute('src', '/ws/parrot/')")
    chat.shows("hello", "hello", "hello")


def test_an_address_without_a_slash_is_resolved_as_a_link_is(
    open_chat: Callable[..., Chat],
) -> None:
    """Against the document, which may have a base, and not against the address of the page."""
    chat = open_chat(path="/pages/relative/")
    chat.say("hello")
    chat.shows("hello", "hello", "hello")
    chat.page.wait_for_function("client.state.state === 'online'")


def test_a_page_of_another_host(server: Server, browser: Browser) -> None:
    """It is kept out, and nothing tells it why: the console names what to look at."""
    page = browser.new_page()
    page.add_init_script(CHANCE)
    element = urlopen(f"{server.origin}/static/chatsessions/chat-session.js").read()  # noqa: S310
    address = server.origin.replace("http", "ws") + "/ws/counter/"
    page.route(
        "**/chat.js", lambda route: route.fulfill(body=element, content_type="text/javascript")
    )
    body = f'<script type="module" src="/chat.js"></script><chat-session src="{address}">'
    page.route("**/page/", lambda route: route.fulfill(body=body, content_type="text/html"))
    with page.expect_console_message(lambda said: "ALLOWED_HOSTS" in said.text) as said:
        page.goto("http://elsewhere.example/page/")
    assert "elsewhere.example is not in ALLOWED_HOSTS" in said.value.text
    chat = Chat(page)
    expect(chat.banner).to_contain_text("Cannot connect.")
    page.close()


def test_a_line_that_never_answers(server: Server, page: Page) -> None:
    """Until the server answers the page says so, and one can write already."""
    answers: list[bool] = []

    def line(socket: WebSocketRoute) -> None:
        if answers:
            socket.connect_to_server()

    page.route_web_socket("**/ws/**", line)
    page.goto(f"{server.origin}/chat/counter/")
    chat = Chat(page)
    chat.is_("Connecting…")
    expect(chat.log.get_by_text("Connecting…")).to_be_visible()
    expect(chat.banner).to_be_hidden()
    chat.say("early")
    expect(chat.waiting).to_contain_text("early")
    answers.append(True)
    page.reload()
    chat.shows("Hi! I'll count how many messages you send.", "early", "You have sent 1 message(s)!")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (4502, "You are not allowed to use this chat. You may have to log in first."),
        (4500, "This chat is not available."),
    ],
)
def test_a_server_that_refuses(code: int, words: str, server: Server, page: Page) -> None:
    """A page that is not wanted says so once and does not knock again by itself."""
    attempts: list[str] = []

    def refuse(socket: WebSocketRoute) -> None:
        attempts.append("")
        socket.on_message(lambda _: socket.close(code=code))

    page.route_web_socket("**/ws/**", refuse)
    page.goto(f"{server.origin}/chat/counter/")
    chat = Chat(page)
    expect(chat.banner).to_contain_text(words)
    chat.is_("Not available")
    expect(chat.input).to_be_hidden()
    page.wait_for_timeout(500)  # the first retries would come within it
    assert len(attempts) == 1
    chat.press("Try again")
    expect(chat.banner).to_contain_text(words)
    assert len(attempts) == 2

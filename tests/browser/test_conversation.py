"""Tabs, reloads, and a server that dies."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.server.harness import Server

from .chat import Chat, Line
from .conftest import CHANCE

pytestmark = pytest.mark.browser

GREETINGS = {
    "counter": "Hi! I'll count how many messages you send.",
    "tutorial": "Hello! I count your messages.",
}
COUNTERS = {"counter": "message_count", "tutorial": "counter"}


def counted(n: int) -> str:
    return f"You have sent {n} message(s)!"


@pytest.fixture(params=GREETINGS)
def bot(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.mark.usefixtures("server")
def test_two_tabs_count_apart(bot: str, open_chat: Callable[..., Chat]) -> None:
    """Each tab is a session of its own: what is said in one, the other neither shows nor counts."""
    one, two = open_chat(bot), open_chat(bot)
    one.say("first")
    one.shows(GREETINGS[bot], "first", counted(1))
    one.say("second")
    one.shows(GREETINGS[bot], "first", counted(1), "second", counted(2))
    two.say("other")
    two.shows(GREETINGS[bot], "other", counted(1))
    one.shows(GREETINGS[bot], "first", counted(1), "second", counted(2))
    assert one.session != two.session


def test_a_tab_opened_by_a_link_counts_for_itself(open_chat: Callable[..., Chat]) -> None:
    """The demo's own "Open a second tab" does not take the first one's session along."""
    one = open_chat("counter")
    one.say("first")
    one.shows(GREETINGS["counter"], "first", counted(1))
    with one.page.expect_popup() as popup:
        one.page.get_by_role("link", name="Open a second tab").click()
    two = Chat(popup.value)
    two.shows(GREETINGS["counter"])
    one.say("second")
    one.shows(GREETINGS["counter"], "first", counted(1), "second", counted(2))


def test_a_reload_keeps_everything(
    bot: str, server: Server, open_chat: Callable[..., Chat]
) -> None:
    """After a reload the tab has the same session, the whole conversation, and counts on."""
    chat = open_chat(bot)
    for n in (1, 2):
        chat.say(f"message {n}")
        expect(chat.contents.last).to_have_text(counted(n))
    session = chat.session
    chat.reload()
    before = [GREETINGS[bot], "message 1", counted(1), "message 2", counted(2)]
    chat.shows(*before)
    assert chat.session == session
    expect(chat.notes).to_have_count(0)
    chat.say("message 3")
    chat.shows(*before, "message 3", counted(3))
    chat.shows_what_is_stored(server.database)
    assert server.database.state(session) == {COUNTERS[bot]: 3}


def test_a_draft_survives_a_reload(open_chat: Callable[..., Chat]) -> None:
    """What was written and not sent is still there, and all of it can be seen."""
    chat = open_chat("counter")
    chat.is_("Online")
    chat.input.fill("one\ntwo\nthree")
    height = chat.input.bounding_box()["height"]
    chat.reload()
    chat.is_("Online")
    expect(chat.input).to_have_value("one\ntwo\nthree")
    assert chat.input.bounding_box()["height"] == height


def test_a_killed_server(bot: str, server: Server, open_chat: Callable[..., Chat]) -> None:
    """
    The page says that the line is down and tries again by itself; when the server is back the
    conversation goes on, and what was written meanwhile arrives once.
    """
    chat = open_chat(bot)
    chat.say("before")
    chat.shows(GREETINGS[bot], "before", counted(1))
    session = chat.session

    server.kill()
    expect(chat.banner).to_contain_text("The connection is lost. Your messages are kept")
    expect(chat.element.get_by_role("button", name="Try now")).to_be_visible()
    chat.is_("Offline")
    chat.say("meanwhile")
    expect(chat.waiting).to_contain_text("Waiting for the connection")

    server.start()
    chat.is_("Online")
    chat.shows(GREETINGS[bot], "before", counted(1), "meanwhile", counted(2))
    expect(chat.banner).to_be_hidden()
    assert chat.session == session
    chat.say("after")
    chat.shows(GREETINGS[bot], "before", counted(1), "meanwhile", counted(2), "after", counted(3))
    chat.shows_what_is_stored(server.database)
    assert server.database.state(session) == {COUNTERS[bot]: 3}


def test_a_killed_server_and_a_reloaded_page(
    server: Server, open_chat: Callable[..., Chat]
) -> None:
    """What was written while the server was away survives a reload, too, and arrives once."""
    chat = open_chat("counter")
    chat.say("before")
    chat.shows(GREETINGS["counter"], "before", counted(1))
    server.kill()
    chat.is_("Offline")
    chat.say("meanwhile")
    expect(chat.waiting).to_have_count(1)
    server.start()
    chat.reload()
    chat.shows(GREETINGS["counter"], "before", counted(1), "meanwhile", counted(2))
    chat.shows_what_is_stored(server.database)


def test_try_now(server: Server, page: Page) -> None:
    """The button tries again at once, and gives the cursor back to the message."""
    line = Line(page)
    page.goto(f"{server.origin}/chat/counter/")
    chat = Chat(page)
    chat.shows(GREETINGS["counter"])
    line.cut()
    chat.is_("Offline")
    line.mend()  # which presses it
    expect(chat.input).to_be_focused()
    chat.is_("Online")
    expect(chat.banner).to_be_hidden()


@pytest.mark.slow
def test_a_network_that_is_gone_for_a_while(
    start_server: Callable[..., Server], page: Page
) -> None:
    """A line that has gone dead is noticed, and left for a new one when the network is back."""
    server = start_server(HEARTBEAT=1)
    page.goto(f"{server.origin}/chat/counter/")
    chat = Chat(page)
    chat.say("before")
    chat.shows(GREETINGS["counter"], "before", counted(1))
    page.context.set_offline(True)
    chat.say("meanwhile")
    expect(chat.banner).to_contain_text("The connection is lost")
    expect(chat.waiting).to_contain_text("Waiting for the connection")
    page.context.set_offline(False)
    chat.is_("Online")
    chat.shows(GREETINGS["counter"], "before", counted(1), "meanwhile", counted(2))
    chat.shows_what_is_stored(server.database)


def test_a_server_that_was_never_there(server: Server, browser: Browser) -> None:
    """
    Where the page has not been welcomed yet no connection is lost: it cannot connect, and the
    console says once what that may be.
    """
    context = browser.new_context()
    try:
        context.add_init_script(CHANCE)
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.route_web_socket("**/ws/nowhere/", lambda socket: socket.close(code=4000))
        page.goto(f"{server.origin}/bare/")
        chat = Chat(page)
        chat.is_("Online")
        chat.element.evaluate("e => e.setAttribute('src', '/ws/nowhere/')")
        expect(chat.banner).to_contain_text(re.compile(r"^Cannot connect\. Next try in \d+\ss\."))
        expect(chat.log.get_by_text("Connecting…")).to_be_hidden()
        chat.element.get_by_role("button", name="Try now").click()
        expect(chat.banner).to_contain_text("Next try in")
        explained = [text for text in said if "cannot connect" in text]
        assert len(explained) == 1
        assert f"{server.origin.replace('http', 'ws')}/ws/nowhere/" in explained[0]
        assert "INSTALLED_APPS" in explained[0]
        chat.element.evaluate("e => e.setAttribute('src', '/ws/parrot/')")
        chat.is_("Online")
    finally:
        context.close()

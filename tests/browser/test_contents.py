"""Profiles, keys, and pages around a frame."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.server.harness import Server

from .chat import Chat
from .conftest import log_in

pytestmark = pytest.mark.browser


def test_choosing_a_profile(
    server: Server, context: BrowserContext, open_chat: Callable[..., Chat]
) -> None:
    """Before it is chosen nothing begins; a reload keeps it, a new conversation asks again."""
    chat = open_chat("guide")
    group = chat.element.get_by_role("group", name="How would you like to begin?")
    expect(group.get_by_role("radio")).to_have_count(3)
    expect(group.get_by_role("radio", name="Flora")).to_be_checked()
    expect(group.get_by_role("radio", name="Max")).to_have_accessible_description("In a hurry.")
    expect(chat.input).to_be_hidden()
    assert chat.element.evaluate("e => e.client.session") is None
    group.get_by_role("radio", name="Flora").press("ArrowDown")
    chat.press("Start")
    expect(chat.input).to_be_focused()
    chat.say("Rome")
    expect(chat.contents.last).to_have_text("Rome! There and back by lunch, I know a short cut.")
    expect(chat.element.locator("[part=profile]")).to_have_text("Max")
    chat.reload()
    expect(chat.element.locator("[part=profile]")).to_have_text("Max")
    expect(chat.contents).to_have_count(3)
    chat.press("New conversation")
    expect(group.get_by_role("radio", name="Max")).to_be_checked()
    group.get_by_text("Dr. Stone").click()
    chat.press("Start")
    chat.say("Rome")
    expect(chat.contents.last).to_have_text("Rome rests on limestone. Bring a hammer.")

    # The server says who may have which.
    log_in(server, context)
    chat = open_chat("guide")
    chat.element.get_by_role("radio", name="Nightingale").check()
    chat.press("Start")
    chat.say("Rome")
    expect(chat.contents.last).to_contain_text("after midnight")


def test_keys(server: Server, open_chat: Callable[..., Chat]) -> None:
    """What is missing is asked for, hidden while typed, kept in the tab alone, and can change."""
    chat = open_chat("vault")
    key = chat.element.get_by_label("API_KEY")
    expect(key).to_have_attribute("type", "password")
    expect(chat.input).to_be_hidden()
    key.fill("sesame-42")
    chat.element.get_by_label("REGION").fill("Bree")
    chat.press("Save and connect")
    chat.say("which?")
    expect(chat.contents.last).to_have_text("A key of 9 characters that ends in '42', for Bree.")
    chat.reload()
    chat.is_("Online")
    chat.press("Keys")
    within = chat.element.get_by_role("dialog", name="Keys")
    within.get_by_label("API_KEY").fill("other-7")
    within.get_by_role("button", name="Save and connect").click()
    chat.is_("Online")
    chat.say("which?")
    expect(chat.contents.last).to_have_text("A key of 7 characters that ends in '-7', for Bree.")
    everything = server.database.query("SELECT * FROM chatsessions_chatsession")
    everything += server.database.query("SELECT * FROM chatsessions_sessionevent")
    assert "sesame" not in str(everything)
    assert chat.page.evaluate("localStorage.length") == 0

    # Another tab is asked again.
    two = open_chat("vault")
    expect(two.element.get_by_label("API_KEY")).to_have_value("")


def test_a_page_around_a_frame(server: Server, context: BrowserContext) -> None:
    """The page that is named is told and heard, each message once; one that is not, neither."""
    # Of one site, or the browser would let the frame remember nothing.
    inside, outside, elsewhere = (
        server.origin.replace("127.0.0.1", f"{name}.site.localhost")
        for name in ("chat", "shop", "elsewhere")
    )
    told = [[{"seen": {"cart": ["hat"]}}, inside]]
    for named, expected in ((outside, told), (elsewhere, [])):
        page = context.new_page()
        page.goto(f"{outside}/around/?{urlencode({'frame': inside, 'named': named})}")
        chat = Chat(page, page.frame_locator("iframe").locator("chat-session"))
        chat.is_("Online")
        page.evaluate("frames[0].postMessage({ cart: ['hat'] }, '*')")
        chat.say("hello")
        expect(chat.contents).to_have_count(3)
        page.wait_for_function("count => window.heard.length >= count", arg=len(expected))
        page.frames[1].evaluate("location.reload()")
        chat.shows("hello", "hello", "hello")
        assert page.evaluate("window.heard") == expected

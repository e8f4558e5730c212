"""What opens beside a conversation, or stands in its place, is in a file of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Route, expect

from .chat import Chat

pytestmark = pytest.mark.browser

FILE = "**/panels.js*"
#: The cursor is in the message box as soon as there is one.
FOCUS = """
const focus = () => document.querySelector("chat-session").focus();
customElements.whenDefined("chat-session").then(focus);
"""


def unreachable(route: Route) -> None:
    route.abort("connectionrefused")


def scripts(chat: Chat) -> list[str]:
    """The names of the scripts that the page has loaded."""
    names: list[str] = chat.page.evaluate(
        "performance.getEntriesByType('resource').map(({ name }) => name.split('/').at(-1))"
    )
    return [name for name in names if name.endswith(".js")]


def test_settings_load_it_once(open_chat: Callable[..., Chat]) -> None:
    chat = open_chat("echo")
    expect(chat.element.get_by_role("button", name="Settings")).to_be_visible()
    assert scripts(chat) == ["chat-session.js", "panels.js"]


def test_a_conversation_goes_on_while_it_cannot_be_loaded(
    open_chat: Callable[..., Chat], context: BrowserContext
) -> None:
    """What was offered meanwhile is there when the line is back."""
    context.route(FILE, unreachable)
    chat = open_chat("echo")
    chat.say("hello")
    expect(chat.contents.last).to_have_text("hello")
    expect(chat.element.get_by_role("button", name="Settings")).to_be_hidden()
    expect(chat.element.get_by_role("alert")).to_be_hidden()
    context.unroute(FILE)
    context.set_offline(True)
    chat.is_("Offline")
    context.set_offline(False)
    chat.press("Settings")
    within = chat.element.get_by_role("dialog", name="Settings")
    within.get_by_label("Voice").select_option("Loud")
    within.get_by_role("button", name="Save").click()
    expect(chat.contents.last).to_have_text("From now on: loud, 1 time(s).")


def test_keys_are_asked_for_when_it_is_there(
    open_chat: Callable[..., Chat], context: BrowserContext
) -> None:
    """Without it nothing goes on: the page says so, and tries again when it is told to."""
    context.route(FILE, unreachable)
    chat = open_chat("vault")
    keys = chat.element.locator("[part=keys]")
    expect(keys.get_by_role("alert")).to_have_text("This part of the page could not be loaded.")
    chat.press("Try again")
    expect(keys.get_by_role("alert")).to_be_visible()
    context.unroute(FILE)
    chat.press("Try again")
    expect(keys.get_by_label("API_KEY")).to_be_focused()


def test_the_cursor_goes_to_the_keys(
    open_chat: Callable[..., Chat], context: BrowserContext
) -> None:
    """From the message box, which is gone, over the wait for them."""
    held: list[Route] = []
    context.route(FILE, lambda route: held.append(route))
    context.add_init_script(FOCUS)
    chat = open_chat("vault")
    keys = chat.element.locator("[part=keys]")
    expect(keys).to_have_text("Loading…")
    expect(keys).to_be_focused()
    held.pop().continue_()
    expect(keys.get_by_label("API_KEY")).to_be_focused()


def test_profiles_are_offered_when_it_is_there(
    open_chat: Callable[..., Chat], context: BrowserContext
) -> None:
    context.route(FILE, unreachable)
    chat = open_chat("guide")
    expect(chat.element.get_by_role("alert")).to_have_text("The profiles could not be loaded.")
    context.unroute(FILE)
    chat.press("Try again")
    expect(chat.element.get_by_role("radio").first).to_be_checked()
    chat.press("Start")
    chat.is_("Online")

"""What opens beside a conversation, or stands in its place, is in a file of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Route, expect

from .chat import Chat, next_of

pytestmark = pytest.mark.browser

FILE = "**/panels.js*"
#: The cursor is in the message box as soon as there is one.
FOCUS = """
const focus = () => document.querySelector("chat-session").focus();
customElements.whenDefined("chat-session").then(focus);
"""


def unreachable(route: Route) -> None:
    route.abort("connectionrefused")


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


def test_what_stands_in_place_of_a_conversation_waits_for_it(
    open_chat: Callable[..., Chat], context: BrowserContext
) -> None:
    """Without it nothing goes on: the page says so, and tries again when it is told to."""
    context.route(FILE, unreachable)
    guide = open_chat("guide")
    failed = guide.element.get_by_role("alert")
    expect(failed).to_have_text("The profiles could not be loaded.")
    vault = open_chat("vault")
    keys = vault.element.locator("[part=keys]")
    expect(keys.get_by_role("alert")).to_have_text("This part of the page could not be loaded.")
    vault.press("Try again")
    expect(keys.get_by_role("alert")).to_be_visible()
    context.unroute(FILE)
    vault.press("Try again")
    expect(keys.get_by_label("API_KEY")).to_be_focused()
    guide.press("Try again")
    expect(guide.element.get_by_role("radio").first).to_be_checked()
    guide.press("Start")
    guide.is_("Online")

    # The cursor goes there from the message box, which is gone, over the wait for it.
    held: list[Route] = []
    context.route(FILE, lambda route: held.append(route))
    vault.page.add_init_script(FOCUS)
    vault.reload()
    expect(keys).to_have_text("Loading…")
    expect(keys).to_be_focused()
    next_of(held, vault.page).continue_()
    expect(keys.get_by_label("API_KEY")).to_be_focused()

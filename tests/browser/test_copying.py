"""A message is copied as it was written."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from tests.server.harness import Server

from .chat import GREETING, Chat, counted

pytestmark = pytest.mark.browser

SOURCE = "**bold** <b>&amp;</b>\n\n- a  \n- ‮b"
#: As on a page without TLS.
NO_CLIPBOARD = "Object.defineProperty(Navigator.prototype, 'clipboard', { value: undefined });"


def copy(chat: Chat, nth: int) -> Locator:
    return chat.messages.nth(nth).get_by_role("button", name="Copy message")


def test_the_source_of_a_message(
    server: Server, context: BrowserContext, open_chat: Callable[..., Chat]
) -> None:
    """Of one's own and of the bot's, by mouse and keyboard; who listens is told."""
    context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.origin)
    chat = open_chat(path="/writer/")
    chat.say(SOURCE)
    expect(chat.contents.last.get_by_role("listitem")).to_have_count(2)
    told = chat.element.locator("[part=announcer]")
    for nth, press in enumerate(("click", "Enter")):
        chat.page.evaluate("navigator.clipboard.writeText('')")
        expect(told).not_to_have_text("Copied")
        if press == "click":
            copy(chat, nth).click()
        else:
            copy(chat, nth).press(press)
        expect(told).to_have_text("Copied")
        assert chat.page.evaluate("navigator.clipboard.readText()") == SOURCE
        told.evaluate("element => element.replaceChildren()")


def test_without_a_clipboard_the_message_is_selected(
    context: BrowserContext, open_chat: Callable[..., Chat]
) -> None:
    """To be copied by the keyboard."""
    context.add_init_script(NO_CLIPBOARD)
    chat = open_chat("counter")
    chat.say("hello")
    chat.shows(GREETING, "hello", counted(1))
    copy(chat, 1).click()
    selected = chat.element.evaluate(
        "element => (element.shadowRoot.getSelection?.() ?? getSelection()).toString()"
    )
    assert selected == "hello"
    expect(chat.element.locator("[part=announcer]")).not_to_have_text("Copied")

"""The beginning of a long conversation comes when its reader wants it, and moves nobody."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Route, expect

from .chat import PATIENCE, Chat

pytestmark = pytest.mark.browser

#: How many numbers the counter is told, with an answer each.
TOLD = 70
#: Where a message stands within what is seen, in pixels.
PLACE = """
(element) => element.getBoundingClientRect().top
"""


def long_conversation(open_chat: Callable[..., Chat]) -> Chat:
    """A reloaded page of a conversation that has more messages than it begins with."""
    chat = open_chat("counter")
    chat.is_("Online")
    chat.element.evaluate(
        "(element, told) => { for (let i = 1; i <= told; i++)"
        " element.client.sendMessage(`number ${i}`); }",
        TOLD,
    )
    expect(chat.contents.filter(has_text=f"{TOLD} message(s)")).to_have_count(
        1, timeout=PATIENCE * 1000
    )
    chat.reload()
    chat.is_("Online")
    expect(chat.contents.last).to_contain_text(f"{TOLD} message(s)")
    return chat


def test_earlier_messages_come_while_scrolling_up(open_chat: Callable[..., Chat]) -> None:
    """All of them in their order, with none twice, and the one being read stays where it is."""
    chat = long_conversation(open_chat)
    expect(chat.contents).to_have_count(50)
    stored = 2 * TOLD + 1
    oldest = chat.messages.first
    expect(oldest).to_be_attached()
    marked = oldest.evaluate_handle("element => element")
    chat.log.evaluate("log => { log.scrollTop = 0; }")
    expect(chat.contents).to_have_count(stored, timeout=PATIENCE * 1000)
    texts = chat.texts()
    assert [text for text in texts if text.startswith("number")] == [
        f"number {number}" for number in range(1, TOLD + 1)
    ]
    assert texts[0].startswith("Hi!")
    assert len(set(texts)) == stored
    expect(chat.element.get_by_role("button", name="Show earlier messages")).to_be_hidden()
    top = marked.evaluate(PLACE)
    log = chat.log.evaluate(PLACE)
    assert -50 < top - log < 250, "the reader was moved"
    expect(chat.log).to_have_attribute("aria-live", "polite")


def test_earlier_messages_come_by_the_keyboard(
    open_chat: Callable[..., Chat], context: BrowserContext
) -> None:
    """A button brings them, says what failed, tries again, and leaves the focus in the log."""
    chat = long_conversation(open_chat)
    refusals = [404, 429]

    def refuse(route: Route) -> None:
        if refusals:
            route.fulfill(status=refusals.pop(0), json={"error": "no"})
        else:
            route.continue_()

    context.route(re.compile(r"/entries/\?"), refuse)
    button = chat.element.get_by_role("button", name="Show earlier messages")
    status = chat.element.locator("[part=older-status]").last
    for _ in range(2):
        button.press("Enter")
        expect(status).to_have_text("The earlier messages could not be loaded.")
    button.press("Enter")
    expect(chat.contents).to_have_count(2 * TOLD + 1, timeout=PATIENCE * 1000)
    expect(chat.log).to_be_focused()
    expect(status).to_be_hidden()


def test_earlier_messages_come_when_the_line_is_back(
    open_chat: Callable[..., Chat], context: BrowserContext
) -> None:
    chat = long_conversation(open_chat)
    context.set_offline(True)
    chat.log.evaluate("log => { log.scrollTop = 0; }")
    expect(chat.element.locator("[part=older-status]").last).to_have_text(
        "The earlier messages could not be loaded."
    )
    context.set_offline(False)
    chat.is_("Online")
    expect(chat.contents).to_have_count(2 * TOLD + 1, timeout=PATIENCE * 1000)


def test_earlier_messages_do_not_undo_what_was_sent_again(open_chat: Callable[..., Chat]) -> None:
    """A message, or a step, that was removed and sent again is as it was sent last."""
    chat = open_chat(path="/keeper/")
    chat.say("go")
    shown = ("go", "news 0", "news 1", "news 2", "status 2")
    chat.shows(*shown)
    for again in (False, True):
        if again:
            with chat.page.expect_response("**/entries/?**"):
                chat.reload()
            expect(chat.contents.first).to_have_text("go")
        chat.shows(*shown)
        expect(chat.log.locator("[part=action]")).to_have_text("Press 2")
        expect(chat.log.locator("[part=step-name]")).to_have_text(["Whole", "Part"])
        outputs = chat.log.locator("[part=step-field]:last-of-type [part=step-text]")
        expect(outputs).to_have_text(["Whole 2", "Part 2"])


def test_a_page_may_want_all_of_a_conversation(open_chat: Callable[..., Chat]) -> None:
    chat = long_conversation(open_chat)
    chat.element.evaluate(
        """async (element) => {
          const { parentNode } = element;
          element.remove();
          await new Promise((resolve) => setTimeout(resolve));
          element = element.cloneNode();
          element.setAttribute("latest", "all");
          parentNode.prepend(element);
        }"""
    )
    expect(chat.contents).to_have_count(2 * TOLD + 1, timeout=PATIENCE * 1000)
    expect(chat.element.get_by_role("button", name="Show earlier messages")).to_be_hidden()

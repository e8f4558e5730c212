"""The beginning of a long conversation comes when its reader wants it, and moves nobody."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Route, expect

from .chat import Chat

pytestmark = pytest.mark.browser

#: How many numbers the counter is told, with an answer each.
TOLD = 70
SAY = """(element, told) => {
  for (let number = 1; number <= told; number++) element.client.sendMessage(`number ${number}`);
}"""
#: Where a message stands within what is seen, in pixels.
PLACE = "element => element.getBoundingClientRect().top"
TO_THE_TOP = "log => { log.scrollTop = 0; }"
ANEW = """async (element) => {
  const { parentNode } = element;
  element.remove();
  await new Promise((resolve) => setTimeout(resolve));
  element = element.cloneNode();
  element.setAttribute("latest", "all");
  parentNode.prepend(element);
}"""


def test_a_long_conversation(open_chat: Callable[..., Chat], context: BrowserContext) -> None:
    """It begins with its last messages. The others come when they are wanted."""
    chat = open_chat("counter")
    chat.is_("Online")
    chat.element.evaluate(SAY, TOLD)
    last = chat.contents.filter(has_text=f"{TOLD} message(s)")
    expect(last).to_have_count(1)
    stored = 2 * TOLD + 1
    button = chat.element.get_by_role("button", name="Show earlier messages")
    status = chat.element.locator("[part=older-status]").last

    def reload() -> None:
        chat.reload()
        chat.is_("Online")
        expect(last).to_have_count(1)
        expect(chat.contents).to_have_count(50)

    # All of them while scrolling up, in their order, none twice; what is read stays where it is.
    reload()
    marked = chat.messages.first.evaluate_handle("element => element")
    chat.log.evaluate(TO_THE_TOP)
    expect(chat.contents).to_have_count(stored)
    texts = chat.texts()
    numbers = [f"number {number}" for number in range(1, TOLD + 1)]
    assert [text for text in texts if text.startswith("number")] == numbers
    assert texts[0].startswith("Hi!")
    assert len(set(texts)) == stored
    expect(button).to_be_hidden()
    assert -50 < marked.evaluate(PLACE) - chat.log.evaluate(PLACE) < 250, "the reader was moved"
    expect(chat.log).to_have_attribute("aria-live", "polite")

    # By a button, which says what failed, tries again, and leaves the focus in the log.
    refusals = [404, 429]

    def refuse(route: Route) -> None:
        if refusals:
            route.fulfill(status=refusals.pop(0), json={"error": "no"})
        else:
            route.continue_()

    entries = re.compile(r"/entries/\?")
    reload()
    context.route(entries, refuse)
    for _ in range(2):
        button.press("Enter")
        expect(status).to_have_text("The earlier messages could not be loaded.")
    button.press("Enter")
    expect(chat.contents).to_have_count(stored)
    expect(chat.log).to_be_focused()
    expect(status).to_be_hidden()
    context.unroute(entries)

    # When the line is back.
    reload()
    context.set_offline(True)
    chat.log.evaluate(TO_THE_TOP)
    expect(status).to_have_text("The earlier messages could not be loaded.")
    context.set_offline(False)
    chat.is_("Online")
    expect(chat.contents).to_have_count(stored)

    # At once, if the page wants it so.
    chat.element.evaluate(ANEW)
    expect(chat.contents).to_have_count(stored)
    expect(button).to_be_hidden()


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

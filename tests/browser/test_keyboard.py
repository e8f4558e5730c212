"""The chat without a mouse, and for who listens to it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.server.harness import Server

from .chat import GREETING, Chat, counted

pytestmark = pytest.mark.browser


def focused(chat: Chat) -> str:
    """The name of what has the focus inside the chat."""
    part: str = chat.element.evaluate(
        "element => element.shadowRoot.activeElement?.getAttribute('part') ?? ''"
    )
    return part


def test_writing(open_chat: Callable[..., Chat]) -> None:
    """
    Enter sends, Shift+Enter starts a line, and the cursor stays where one writes. An Enter that
    chooses a word of an input method does not send.
    """
    chat = open_chat("counter")
    chat.shows(GREETING)
    chat.input.focus()
    keyboard = chat.page.keyboard
    keyboard.type("one")
    keyboard.press("Shift+Enter")
    keyboard.type("two")
    expect(chat.input).to_have_value("one\ntwo")
    keyboard.press("Enter")
    chat.shows(GREETING, "one two", counted(1))
    assert chat.texts()[1] == "one\ntwo"
    expect(chat.input).to_have_value("")
    expect(chat.input).to_be_focused()
    chat.input.fill("by the button")
    chat.send.click()
    expect(chat.contents.last).to_have_text(counted(2))
    expect(chat.input).to_be_focused()
    chat.input.fill("かな")
    chat.input.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    chat.input.dispatch_event("keydown", {"key": "Enter", "keyCode": 229})
    expect(chat.input).to_have_value("かな")
    chat.input.press("Enter")
    chat.shows(GREETING, "one two", counted(1), "by the button", counted(2), "かな", counted(3))


def test_on_a_screen_that_is_touched_enter_begins_a_line(
    server: Server, new_context: Callable[..., BrowserContext]
) -> None:
    """Its keyboard has no Shift+Enter, and its key says what it does; a button sends."""
    page = new_context(has_touch=True, is_mobile=True).new_page()
    chat = Chat.at(page, f"{server.origin}/chat/counter/")
    chat.is_("Online")
    chat.input.tap()
    expect(chat.input).to_have_attribute("enterkeyhint", "enter")
    page.keyboard.type("one\ntwo")
    expect(chat.input).to_have_value("one\ntwo")
    expect(chat.element.get_by_text("Enter sends")).to_be_hidden()
    chat.send.tap()
    expect(chat.contents.nth(1)).to_have_text("one\ntwo")


def test_escape_stops(open_chat: Callable[..., Chat]) -> None:
    """
    An answer, from wherever in the chat, and leaves the cursor in the message. So does the button,
    by a key, and a stop from elsewhere while it has the focus.
    """
    chat = open_chat("storyteller")
    for count, (where, key) in enumerate(
        [(chat.input, "Escape"), (chat.log, "Escape"), (chat.stop, "Enter"), (chat.stop, "")],
        start=1,
    ):
        chat.say("rain")
        chat.has_story(words=3)
        expect(chat.stop).to_be_visible()
        where.focus()
        if key:
            chat.page.keyboard.press(key)
        else:
            chat.element.evaluate("({ client }) => client.stop()")
        stopped = chat.contents.filter(has_text="All right, I'll stop there.")
        expect(stopped).to_have_count(count)
        expect(chat.stop).to_be_hidden()
        expect(chat.streaming).to_have_count(0)
        expect(chat.input).to_be_focused()


def test_names_and_roles(open_chat: Callable[..., Chat]) -> None:
    """
    Everything has a role and a name; the conversation is a live log, each message an article. Tab
    goes through the chat from top to bottom, and shows where it is.
    """
    chat = open_chat("counter")
    chat.say("hello")
    expect(chat.contents).to_have_count(3)
    within = chat.element
    expect(within.get_by_role("region", name="Counter")).to_be_visible()
    expect(within.get_by_role("heading", name="Counter")).to_be_visible()
    expect(within.get_by_role("log", name="Conversation")).to_have_attribute("aria-live", "polite")
    expect(within.get_by_role("status").first).to_have_text("Online")
    box = within.get_by_role("textbox", name="Message")
    expect(box).to_have_accessible_description("Enter sends, Shift+Enter starts a new line")
    for name in ("Send", "End chat"):
        expect(within.get_by_role("button", name=name)).to_be_visible()
    expect(within.get_by_role("button", name="Copy message")).to_have_count(3)
    expect(within.get_by_role("button")).to_have_count(5)
    expect(within.get_by_role("article")).to_have_count(3)
    page = chat.page
    expect(page.get_by_role("heading", level=1)).to_have_text("Counter")
    expect(page.get_by_role("main")).to_be_visible()
    expect(page.get_by_role("navigation", name="Site")).to_be_visible()
    expect(page.locator("html")).to_have_attribute("lang", "en")

    page.get_by_role("link", name="Open a second tab").focus()
    seen = []
    for _ in range(5):
        page.keyboard.press("Tab")
        seen.append(focused(chat))
        outline = chat.element.evaluate(
            "element => getComputedStyle(element.shadowRoot.activeElement).outlineStyle"
        )
        assert outline != "none", seen
    assert seen == ["end", "messages", "copy", "input", "send"]


def test_tab_goes_to_one_message_and_arrows_to_the_others(open_chat: Callable[..., Chat]) -> None:
    """A long conversation is no long way to the input; its last message is the one that is near."""
    chat = open_chat(path="/critic/")
    for word in ("one", "two"):
        chat.say(word)
        expect(chat.contents.last).to_have_text(f"re {word}")
    keyboard = chat.page.keyboard
    chat.log.focus()
    places = []
    for key in ("Tab", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", "ArrowDown", "Tab", "Tab"):
        keyboard.press(key)
        places.append(place(chat))
    # Of the messages one, re one, two, re two; at the first an arrow leads no further.
    copies = [("copy", message) for message in ("re two", "two", "re one", "one", "one", "re one")]
    assert places == [*copies, ("thumb", "re one"), ("thumb", "re one")]
    keyboard.press("ArrowDown")
    assert place(chat) == ("thumb", "re two")
    keyboard.press("Tab")
    assert focused(chat) == "input"
    chat.say("three")
    expect(chat.contents.last).to_have_text("re three")
    chat.log.focus()
    keyboard.press("Tab")
    assert place(chat) == ("copy", "re three")


def place(chat: Chat) -> tuple[str, str]:
    """What has the focus, and in which message."""
    found: list[str] = chat.element.evaluate(
        """({ shadowRoot: { activeElement: it } }) =>
          [it.part.value, it.closest("article")?.querySelector("[part=content]").textContent]"""
    )
    return found[0], found[1]


def test_a_replay_and_a_stream_are_not_read_out(open_chat: Callable[..., Chat]) -> None:
    """Live is what is new: not the conversation of before a reload, not each word of a stream."""
    chat = open_chat("storyteller")
    chat.page.add_init_script(
        """
        addEventListener("DOMContentLoaded", () => {
          const log = document.querySelector("chat-session").shadowRoot.querySelector("[role=log]");
          window.read = [];
          new MutationObserver(() => window.read.push(log.getAttribute("aria-live")))
            .observe(log.querySelector("[part=list]"), { childList: true });
        });
        """
    )
    chat.say("rain")
    chat.has_story(words=3)
    expect(chat.streaming).to_have_attribute("aria-live", "off")
    chat.stop.click()
    expect(chat.contents).to_have_count(4)
    announcer = chat.element.locator("[part=announcer]").first
    expect(announcer).to_have_text(re.compile("^Assistant: .+"))
    chat.reload()
    expect(chat.contents).to_have_count(4)
    expect(chat.log).to_have_attribute("aria-live", "polite")
    expect(chat.log).not_to_have_attribute("aria-busy", "true")
    assert chat.page.evaluate("window.read[0]") == "off"


def test_what_was_read_out_goes_with_its_conversation(open_chat: Callable[..., Chat]) -> None:
    """A screen reader finds nothing of it in the next one, which may be another person's."""
    chat = open_chat("storyteller")
    chat.say("rain")
    chat.has_story(words=3)
    chat.stop.click()
    announcer = chat.element.locator("[part=announcer]").first
    expect(announcer).to_have_text(re.compile("^Assistant: .+"))
    chat.element.evaluate("chat => chat.client.newSession()")
    expect(announcer).to_have_text("")

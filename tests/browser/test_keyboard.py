"""The chat without a mouse, and for who listens to it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from demo_project.views import BOTS
from tests.server.harness import Server

from .chat import Chat, Line, duplicate

pytestmark = pytest.mark.browser

GREETING = "Hi! I'll count how many messages you send."


def focused(chat: Chat) -> str:
    """The name of what has the focus inside the chat."""
    part: str = chat.element.evaluate(
        "element => element.shadowRoot.activeElement?.getAttribute('part') ?? ''"
    )
    return part


def test_enter_and_shift_enter(open_chat: Callable[..., Chat]) -> None:
    """Enter sends, Shift+Enter starts a line, and the cursor stays where one writes."""
    chat = open_chat("counter")
    chat.shows(GREETING)
    chat.input.focus()
    keyboard = chat.page.keyboard
    keyboard.type("one")
    keyboard.press("Shift+Enter")
    keyboard.type("two")
    expect(chat.input).to_have_value("one\ntwo")
    keyboard.press("Enter")
    chat.shows(GREETING, "one two", "You have sent 1 message(s)!")
    assert chat.texts()[1] == "one\ntwo"
    expect(chat.input).to_have_value("")
    expect(chat.input).to_be_focused()
    chat.input.fill("by the button")
    chat.send.click()
    expect(chat.contents.last).to_have_text("You have sent 2 message(s)!")
    expect(chat.input).to_be_focused()


def test_on_a_screen_that_is_touched_enter_begins_a_line(
    server: Server, new_context: Callable[..., BrowserContext]
) -> None:
    """Its keyboard has no Shift+Enter, and its key says what it does; a button sends."""
    page = new_context(has_touch=True, is_mobile=True).new_page()
    page.goto(f"{server.origin}/chat/counter/")
    chat = Chat(page)
    chat.is_("Online")
    chat.input.tap()
    expect(chat.input).to_have_attribute("enterkeyhint", "enter")
    page.keyboard.type("one\ntwo")
    expect(chat.input).to_have_value("one\ntwo")
    expect(chat.element.get_by_text("Enter sends")).to_be_hidden()
    chat.send.tap()
    expect(chat.contents.nth(1)).to_have_text("one\ntwo")


def test_an_enter_that_ends_a_composition(open_chat: Callable[..., Chat]) -> None:
    """Enter that chooses a word of an input method does not send."""
    chat = open_chat("counter")
    chat.shows(GREETING)
    chat.input.fill("かな")
    chat.input.dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    chat.input.dispatch_event("keydown", {"key": "Enter", "keyCode": 229})
    expect(chat.input).to_have_value("かな")
    chat.input.press("Enter")
    chat.shows(GREETING, "かな", "You have sent 1 message(s)!")


@pytest.mark.parametrize("where", ["input", "log", "stop"])
def test_escape_stops(where: str, open_chat: Callable[..., Chat]) -> None:
    """Escape stops an answer, from wherever in the chat, and leaves the cursor in the message."""
    chat = open_chat("storyteller")
    chat.say("rain")
    chat.has_story(words=3)
    expect(chat.stop).to_be_visible()
    getattr(chat, where).focus()
    chat.page.keyboard.press("Enter" if where == "stop" else "Escape")
    expect(chat.contents.last).to_have_text("All right, I'll stop there.")
    expect(chat.stop).to_be_hidden()
    expect(chat.input).to_be_focused()


def test_everything_can_be_reached_by_tab(open_chat: Callable[..., Chat]) -> None:
    """Tab goes through the chat from top to bottom, and shows where it is."""
    chat = open_chat("counter")
    chat.shows(GREETING)
    chat.page.get_by_role("link", name="Open a second tab").focus()
    seen = []
    for _ in range(5):
        chat.page.keyboard.press("Tab")
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


def test_the_end_dialog_by_keyboard(open_chat: Callable[..., Chat]) -> None:
    """The question keeps the focus, gives it back, and after the end a way on has it."""
    chat = open_chat("counter")
    chat.shows(GREETING)
    end = chat.element.get_by_role("button", name="End chat")
    end.focus()
    keyboard = chat.page.keyboard
    keyboard.press("Enter")
    assert focused(chat) == "end-cancel"
    keyboard.press("Tab")
    assert focused(chat) == "end-confirm"
    keyboard.press("Escape")
    expect(end).to_be_focused()
    keyboard.press("Enter")
    keyboard.press("Tab")
    keyboard.press("Enter")
    chat.is_("Ended")
    expect(chat.element.get_by_role("button", name="Start a new conversation")).to_be_focused()
    keyboard.press("Enter")
    chat.shows(GREETING)
    expect(chat.input).to_be_focused()


def test_the_focus_of_what_goes_away(server: Server, page: Page) -> None:
    """Where a button disappears under the focus, that goes to where one goes on."""
    line = Line(page)
    page.goto(f"{server.origin}/chat/storyteller/")
    chat = Chat(page)
    chat.say("rain")
    chat.stop.focus()
    chat.element.evaluate("chat => chat.client.stop()")
    expect(chat.stop).to_be_hidden()
    expect(chat.input).to_be_focused()

    line.cut()
    chat.element.get_by_role("button", name="Try now").focus()
    line.mend()
    chat.is_("Online")
    expect(chat.input).to_be_focused()


def test_the_focus_of_a_button_that_the_bot_takes_away(open_chat: Callable[..., Chat]) -> None:
    """By a change of its message, or because its question is closed."""
    chat = open_chat("todo")
    chat.say("dishes")
    chat.say("letters")
    done = chat.log.get_by_role("button", name="Done")
    expect(done).to_have_count(2)
    done.last.focus()
    chat.page.keyboard.press("Enter")
    expect(chat.contents.last).to_have_text("✓ letters")
    expect(chat.input).to_be_focused()

    chat = open_chat("quiz")
    chat.press("Play")
    box = chat.element.get_by_role("textbox", name="Your answer")
    box.fill("Ada")
    box.press("Enter")
    chat.log.get_by_role("button", name="Jupiter").focus()
    chat.element.evaluate("({ client }) => client.stop()")
    expect(chat.log.locator("[part=outcome]")).to_be_visible()
    expect(chat.input).to_be_focused()


@pytest.mark.usefixtures("without_tls")
def test_the_focus_when_another_tab_takes_over(open_chat: Callable[..., Chat]) -> None:
    chat = open_chat("counter")
    chat.element.get_by_role("button", name="End chat").click()
    duplicate(chat.page)
    chat.is_("Open elsewhere")
    expect(chat.element.get_by_role("dialog")).to_be_hidden()
    expect(chat.element.get_by_role("button", name="Use it here")).to_be_focused()


def test_names_and_roles(open_chat: Callable[..., Chat]) -> None:
    """Everything has a role and a name; the conversation is a live log, each message an article."""
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


def test_the_start_page(server: Server, page: Page) -> None:
    """Each bot is a link with its name, and leads to its chat."""
    page.goto(server.origin)
    for name, heading in (("Storyteller", "Storyteller"), ("Counter", "Counter")):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        page.get_by_role("link", name="All bots").click()
    expect(page.get_by_role("listitem")).to_have_count(len(BOTS))

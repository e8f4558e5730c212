"""Questions of the bot, buttons under its messages, and its settings."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.server.harness import Server

from .chat import PATIENCE, Chat, Line, scripts

pytestmark = pytest.mark.browser

RULES = "Three questions, a minute for each."
NAME = "What shall I call you?"
FIRST = "1. Which planet has the shortest day?"


def begin(chat: Chat) -> None:
    chat.press("Play")
    chat.shows(RULES, NAME)


def test_a_quiz(server: Server, page: Page) -> None:
    """
    The composer answers a question for a text, and says so; buttons answer one for a choice. What
    was answered stands there in the person's words, and nothing is left to answer it twice. An open
    question survives a reload, and an answer the lack of a connection. Stop withdraws a question.
    """
    line = Line(page)
    chat = Chat.at(page, f"{server.origin}/chat/quiz/")
    play, jupiter = (chat.element.get_by_role("button", name=name) for name in ("Play", "Jupiter"))
    begin(chat)
    chat.reload()
    chat.shows(RULES, NAME)
    expect(play).to_have_count(0)
    box = chat.element.get_by_role("textbox", name="Your answer")
    expect(box).to_have_accessible_description("Your next message answers the question above")
    timer = chat.element.get_by_role("timer")
    expect(timer).to_have_text(re.compile(r"\d\d s left"))
    expect(timer).to_have_attribute("aria-live", "off")
    chat.answer("Ada")
    expect(chat.input).to_have_accessible_description(
        "Choose one of the buttons above; a message waits until then"
    )
    line.cut()
    chat.press("Jupiter")
    expect(chat.waiting).to_contain_text("Jupiter")
    expect(chat.element.get_by_role("button", name="Mars")).to_be_hidden()
    line.mend()
    expect(jupiter).to_have_count(0)
    chat.press("Six")
    chat.press("Pink")
    expect(chat.contents.last).to_have_text("Ada, you have 2 of 3 points.")
    expect(chat.input).to_have_accessible_description("Enter sends, Shift+Enter starts a new line")
    shown = chat.texts()
    assert shown[:5] == [RULES, NAME, "Ada", FIRST, "Jupiter"]
    assert shown[6:8] == ["Six", "It is Four."]
    names = [row.name for row in server.database.log(chat.session)]
    assert names.count("answer") == 4
    expect(timer).to_have_count(0)
    chat.reload()
    chat.shows(*shown)
    expect(jupiter).to_have_count(0)

    # What follows a press is seen, wherever the button was, as after a message.
    page.set_viewport_size({"width": 360, "height": 420})
    chat.log.evaluate("log => log.scrollTo(0, 0)")
    expect(chat.element.get_by_role("button", name="Jump to latest")).to_be_visible()
    play.evaluate("button => button.click()")
    expect(chat.contents.last).to_have_text(NAME)
    expect(chat.contents.last).to_be_in_viewport(ratio=1)

    # A question that is withdrawn has no buttons, and leaves the focus where one writes.
    chat.answer("Ada")
    jupiter.focus()
    chat.element.evaluate("({ client }) => client.stop()")
    expect(chat.log.locator("[part=outcome]")).to_have_text("This question was withdrawn.")
    expect(chat.input).to_be_focused()
    expect(jupiter).to_have_count(0)
    expect(box).to_have_count(0)


def test_a_list_with_buttons(server: Server, page: Page) -> None:
    """
    Each message has its own buttons, in words. They go when what they are for is done, the focus
    then to where one writes. While the line is down nothing can be pressed; what is not offered any
    more is refused.
    """
    line = Line(page)
    chat = Chat.at(page, f"{server.origin}/chat/todo/")
    for thing in ("dishes", "letters", "shoes"):
        chat.say(thing)
        expect(chat.contents.last).to_have_text(thing)
        expect(chat.messages.last.locator("[part=action]")).to_have_count(2)
    forget = chat.messages.last.get_by_role("button", name="Forget it")
    expect(forget).to_have_attribute("title", "Take it off the list")
    forget.focus()
    page.keyboard.press("Enter")
    done = chat.log.get_by_role("button", name="Done")
    expect(done).to_have_count(2)
    done.last.focus()
    page.keyboard.press("Enter")
    expect(chat.contents.nth(4)).to_have_text("✓ letters")
    expect(chat.input).to_be_focused()

    line.cut()
    expect(done).to_be_disabled()
    done.click(force=True)
    line.mend()
    expect(done).to_be_enabled()
    chat.element.evaluate("e => e.client.send('action', {id: 'x', name: 'done', payload: {}})")
    expect(chat.element.get_by_role("alert")).to_be_visible()
    done.click()
    for _ in range(2):
        expect(chat.contents.last).to_have_text("That was all.")
        expect(chat.contents.nth(2)).to_have_text("✓ dishes")
        expect(chat.log.locator("[part=action]")).to_have_count(0)
        chat.reload()


def test_settings(server: Server, open_chat: Callable[..., Chat]) -> None:
    """The form says what holds, saves what is changed, and the bot goes by it, also tomorrow."""
    chat = open_chat("echo")
    within = chat.element.get_by_role("dialog", name="Settings")
    voice, sign = within.get_by_label("Voice"), within.get_by_role("textbox", name="Signature")
    save = within.get_by_role("button", name="Save")
    expect(chat.element.get_by_role("button", name="Settings")).to_be_visible()
    assert scripts(chat.page) == ["chat-session.js", "panels.js"]
    chat.press("Settings")
    expect(voice).to_be_focused()
    voice.select_option("Loud")
    within.get_by_role("slider", name="How often").press("ArrowRight")
    within.get_by_role("switch", name="Number the lines").check()
    words = within.get_by_role("textbox", name="Words to leave out")
    words.fill("not")
    words.press("Enter")
    words.fill("never")
    # The server's objection stands at the field that it names, and nothing typed is lost.
    sign.fill("x" * 10_001)
    save.click()
    expect(sign).to_have_attribute("aria-invalid", "true")
    expect(sign).to_have_accessible_description(re.compile("10000 characters"))
    expect(sign).to_be_focused()
    assert len(sign.input_value()) == 10_001
    sign.fill("<b>Echo</b>")
    save.click()
    expect(within).to_be_hidden()
    expect(chat.element.get_by_role("button", name="Settings")).to_be_focused()
    expect(chat.contents.last).to_have_text("From now on: loud, 2 time(s).")
    chat.say("not bad")
    expect(chat.contents.last).to_have_text("1. … BAD 2. … BAD <b>Echo</b>")

    chat.reload()
    chat.press("Settings")
    expect(voice.locator("option:checked")).to_have_text("Loud")
    expect(within.get_by_role("slider", name="How often")).to_have_value("2")
    expect(within.get_by_role("switch", name="Number the lines")).to_be_checked()
    expect(within.get_by_role("list").get_by_role("listitem")).to_have_text(["not", "never"])
    within.get_by_role("button", name="Defaults").click()
    # A double click sends them once.
    save.evaluate("button => { button.click(); button.click(); }")
    expect(within).to_be_hidden()
    expect(chat.contents.last).to_have_text("From now on: as it is, 1 time(s).")
    chat.say("hello")
    expect(chat.contents.last).to_have_text("hello")
    sent = [row.name for row in server.database.log(chat.session) if row.n]
    assert sent == ["settings", "message", "settings", "message"]


#: Counts the intervals that run.
INTERVALS = """
window.intervals = new Set();
const { setInterval: start, clearInterval: stop } = window;
window.setInterval = (...how) => { const id = start(...how); intervals.add(id); return id; };
window.clearInterval = (id) => { intervals.delete(id); stop(id); };
"""


def test_an_element_that_is_taken_away_with_a_question_open(
    open_chat: Callable[..., Chat], context: BrowserContext
) -> None:
    """Nothing of it runs on; put back, it shows the time that is left; let go, it is gone."""
    context.add_init_script(INTERVALS)
    chat = open_chat("quiz")
    begin(chat)
    timer = chat.element.get_by_role("timer")
    expect(timer).to_have_text(re.compile(r"\d\d s left"))
    assert chat.page.evaluate("intervals.size") > 0
    take = "() => { window.taken = document.querySelector('chat-session'); taken.remove(); }"
    chat.page.evaluate(take)
    chat.page.wait_for_function("intervals.size === 0")
    chat.page.evaluate("document.body.prepend(taken)")
    expect(timer).to_have_text(re.compile(r"\d\d s left"))
    before = timer.text_content()
    expect(timer).not_to_have_text(before or "")

    chat.page.evaluate(take)
    chat.page.evaluate("window.taken = new WeakRef(taken)")
    devtools = context.new_cdp_session(chat.page)
    deadline = time.monotonic() + PATIENCE
    while chat.page.evaluate("taken.deref() !== undefined"):
        assert time.monotonic() < deadline, "something holds the element"
        devtools.send("HeapProfiler.collectGarbage")
        chat.page.wait_for_timeout(200)

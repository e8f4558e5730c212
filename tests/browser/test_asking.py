"""Questions of the bot, buttons under its messages, and its settings."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.server.harness import Server

from .chat import PATIENCE, Chat, Line

pytestmark = pytest.mark.browser

RULES = "Three questions, a minute for each."
NAME = "What shall I call you?"
FIRST = "1. Which planet has the shortest day?"


def begin(chat: Chat) -> None:
    chat.press("Play")
    chat.shows(RULES, NAME)


def answer(chat: Chat, text: str) -> None:
    box = chat.element.get_by_role("textbox", name="Your answer")
    box.fill(text)
    box.press("Enter")


def test_a_quiz(server: Server, open_chat: Callable[..., Chat]) -> None:
    """
    The composer answers a question for a text, and says so; buttons answer one for a choice. What
    was answered stands there in the person's words, and nothing is left to answer it twice.
    """
    chat = open_chat("quiz")
    begin(chat)
    expect(chat.element.get_by_role("button", name="Play")).to_have_count(0)
    box = chat.element.get_by_role("textbox", name="Your answer")
    expect(box).to_have_accessible_description("Your next message answers the question above")
    expect(chat.element.get_by_role("timer")).to_have_text(re.compile(r"\d\d s left"))
    expect(chat.element.get_by_role("timer")).to_have_attribute("aria-live", "off")
    answer(chat, "Ada")
    expect(chat.input).to_have_accessible_description(
        "Choose one of the buttons above; a message waits until then"
    )
    chat.press("Jupiter")
    expect(chat.element.get_by_role("button", name="Jupiter")).to_have_count(0)
    chat.press("Six")
    chat.press("Pink")
    expect(chat.contents.last).to_have_text("Ada, you have 2 of 3 points.")
    expect(chat.input).to_have_accessible_description("Enter sends, Shift+Enter starts a new line")
    assert chat.texts()[:8] == [RULES, NAME, "Ada", FIRST, "Jupiter", *chat.texts()[5:8]]
    assert chat.texts()[6:8] == ["Six", "It is Four."]
    expect(chat.element.get_by_role("timer")).to_have_count(0)
    shown = chat.texts()
    chat.reload()
    chat.shows(*shown)
    expect(chat.element.get_by_role("button", name="Jupiter")).to_have_count(0)


def test_a_question_survives(server: Server, page: Page) -> None:
    """
    An open question is there again after a reload, and an answer that is given while the line is
    down arrives once.
    """
    line = Line(page)
    page.goto(f"{server.origin}/chat/quiz/")
    chat = Chat(page)
    begin(chat)
    chat.reload()
    chat.shows(RULES, NAME)
    answer(chat, "Ada")
    chat.shows(RULES, NAME, "Ada", FIRST)
    chat.reload()
    expect(chat.element.get_by_role("timer")).to_have_text(re.compile(r"\d\d s left"))
    expect(chat.input).to_be_visible()
    line.cut()
    chat.press("Jupiter")
    expect(chat.waiting).to_contain_text("Jupiter")
    expect(chat.element.get_by_role("button", name="Mars")).to_be_hidden()
    line.mend()
    expect(chat.contents.last).to_have_text("2. How many strings has a cello?")
    assert chat.texts() == [RULES, NAME, "Ada", FIRST, "Jupiter", chat.texts()[-1]]
    names = [row.name for row in server.database.log(chat.session)]
    assert names.count("answer") == 2


def test_a_question_that_is_stopped(open_chat: Callable[..., Chat]) -> None:
    """Stop withdraws a question: nothing answers it any more, and messages are messages again."""
    chat = open_chat("quiz")
    begin(chat)
    chat.stop.click()
    expect(chat.log.locator("[part=outcome]")).to_have_text("This question was withdrawn.")
    expect(chat.input).to_be_focused()
    expect(chat.element.get_by_role("textbox", name="Your answer")).to_have_count(0)


def test_a_bot_without_async(open_chat: Callable[..., Chat]) -> None:
    """Handlers written as def ask and answer like any other."""
    chat = open_chat("clerk")
    chat.say("how many?")
    expect(chat.contents.last).to_have_text("Who wants to know?")
    answer(chat, "Ada")
    expect(chat.contents.last).to_have_text(re.compile(r"^\d+ at this moment, Ada\.$"))
    chat.say("and now?")
    expect(chat.contents).to_have_count(7)
    expect(chat.contents.last).to_have_text(re.compile(r"^\d+ at this moment, Ada\.$"))


def test_a_list_with_buttons(open_chat: Callable[..., Chat]) -> None:
    """Each message has its own buttons, in words; they go when what they are for is done."""
    chat = open_chat("todo")
    for thing in ("dishes", "letters"):
        chat.say(thing)
        expect(chat.contents.last).to_have_text(thing)
        expect(chat.messages.last.locator("[part=action]")).to_have_count(2)
    forget = chat.messages.last.get_by_role("button", name="Forget it")
    expect(forget).to_have_attribute("title", "Take it off the list")
    forget.focus()
    chat.page.keyboard.press("Enter")
    expect(forget).to_have_count(0)
    chat.press("Done")
    expect(chat.contents.last).to_have_text("That was all.")
    expect(chat.contents.nth(2)).to_have_text("✓ dishes")
    expect(chat.log.locator("[part=action]")).to_have_count(0)
    chat.reload()
    expect(chat.contents.last).to_have_text("That was all.")
    expect(chat.log.locator("[part=action]")).to_have_count(0)


def test_a_press_further_up(server: Server, open_chat: Callable[..., Chat]) -> None:
    """What follows a press is seen, wherever the button was, as after a message."""
    chat = open_chat("quiz")
    chat.page.set_viewport_size({"width": 360, "height": 420})
    for _ in range(4):
        chat.say("hello\n" * 8)
    expect(chat.contents).to_have_count(9)
    chat.log.evaluate("log => log.scrollTo(0, 0)")
    expect(chat.element.get_by_role("button", name="Jump to latest")).to_be_visible()
    chat.press("Play")
    expect(chat.contents.last).to_have_text(NAME)
    expect(chat.contents.last).to_be_in_viewport(ratio=1)


def test_buttons_without_a_line(server: Server, page: Page) -> None:
    """While the line is down nothing can be pressed; what is not offered any more is refused."""
    line = Line(page)
    page.goto(f"{server.origin}/chat/todo/")
    chat = Chat(page)
    chat.say("dishes")
    done = chat.messages.last.get_by_role("button", name="Done")
    expect(done).to_be_enabled()
    line.cut()
    expect(done).to_be_disabled()
    done.click(force=True)
    line.mend()
    expect(done).to_be_enabled()
    chat.element.evaluate("e => e.client.send('action', {id: 'x', name: 'done', payload: {}})")
    expect(chat.element.get_by_role("alert")).to_be_visible()
    done.click()
    expect(chat.contents.last).to_have_text("That was all.")


def open_settings(chat: Chat) -> None:
    chat.press("Settings")
    expect(chat.element.get_by_role("dialog", name="Settings")).to_be_visible()


def test_settings(open_chat: Callable[..., Chat]) -> None:
    """The form says what holds, saves what is changed, and the bot goes by it, also tomorrow."""
    chat = open_chat("echo")
    open_settings(chat)
    within = chat.element.get_by_role("dialog", name="Settings")
    expect(within.get_by_label("Voice")).to_be_focused()
    within.get_by_label("Voice").select_option("Loud")
    within.get_by_role("slider", name="How often").press("ArrowRight")
    within.get_by_role("switch", name="Number the lines").check()
    within.get_by_role("textbox", name="Signature").fill("<b>Echo</b>")
    words = within.get_by_role("textbox", name="Words to leave out")
    words.fill("not")
    words.press("Enter")
    words.fill("never")
    within.get_by_role("button", name="Save").click()
    expect(within).to_be_hidden()
    expect(chat.element.get_by_role("button", name="Settings")).to_be_focused()
    expect(chat.contents.last).to_have_text("From now on: loud, 2 time(s).")
    chat.say("not bad")
    expect(chat.contents.last).to_have_text("1. … BAD 2. … BAD <b>Echo</b>")
    chat.reload()
    open_settings(chat)
    expect(within.get_by_label("Voice").locator("option:checked")).to_have_text("Loud")
    expect(within.get_by_role("slider", name="How often")).to_have_value("2")
    expect(within.get_by_role("switch", name="Number the lines")).to_be_checked()
    expect(within.get_by_role("list").get_by_role("listitem")).to_have_text(["not", "never"])
    within.get_by_role("button", name="Defaults").click()
    within.get_by_role("button", name="Save").click()
    expect(chat.contents.last).to_have_text("From now on: as it is, 1 time(s).")


def test_settings_that_are_refused(open_chat: Callable[..., Chat]) -> None:
    """The server's objection stands at the field that it names, and nothing typed is lost."""
    chat = open_chat("echo")
    open_settings(chat)
    within = chat.element.get_by_role("dialog", name="Settings")
    sign = within.get_by_role("textbox", name="Signature")
    sign.fill("x" * 10_001)
    within.get_by_role("button", name="Save").click()
    expect(sign).to_have_attribute("aria-invalid", "true")
    expect(sign).to_have_accessible_description(re.compile("10000 characters"))
    expect(sign).to_be_focused()
    assert len(sign.input_value()) == 10_001
    sign.fill("Echo")
    within.get_by_role("button", name="Save").click()
    expect(within).to_be_hidden()
    expect(chat.contents.last).to_have_text("From now on: as it is, 1 time(s).")


def test_settings_that_are_saved_by_a_double_click_are_sent_once(
    server: Server, open_chat: Callable[..., Chat]
) -> None:
    chat = open_chat("echo")
    open_settings(chat)
    within = chat.element.get_by_role("dialog", name="Settings")
    within.get_by_label("Voice").select_option("Loud")
    save = within.get_by_role("button", name="Save")
    save.evaluate("button => { button.click(); button.click(); }")
    expect(within).to_be_hidden()
    chat.say("hello")
    expect(chat.contents.last).to_have_text("HELLO")
    sent = [row.name for row in server.database.log(chat.session) if row.n]
    assert sent == ["settings", "message"]


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

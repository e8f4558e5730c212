"""The page and the admin in each language: no word of English, and room for it on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import polib
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.server.harness import Server

from .chat import Chat
from .conftest import add_staff, log_in_by_form
from .looks import PHONE, WIDE, assert_fits

pytestmark = pytest.mark.browser

LOCALE = Path(__file__).resolve().parent.parent.parent / "chatsessions" / "locale"
LANGUAGES = ("de", "fr", "es")
#: What a person reads, and hears of: texts, labels, titles and placeholders.
READ = """
() => {
  const found = [];
  const look = (root) => {
    for (const element of root.querySelectorAll("*:not(script, style, noscript, option)")) {
      if (element.shadowRoot) look(element.shadowRoot);
      if (!element.checkVisibility()) continue;
      for (const name of ["aria-label", "title", "placeholder"]) {
        found.push(element.getAttribute(name));
      }
      for (const node of element.childNodes) if (node.nodeType === 3) found.push(node.data);
    }
  };
  look(document);
  return found.filter((text) => text?.trim()).map((text) => text.trim());
}
"""


@cache
def english(language: str, *domains: str) -> dict[str, str]:
    """Messages in English that are said otherwise in a language, and how."""
    found = {}
    for domain in domains:
        for entry in polib.pofile(str(LOCALE / language / "LC_MESSAGES" / f"{domain}.po")):
            translation = entry.msgstr_plural.get(1, entry.msgstr)
            message = entry.msgid_plural or entry.msgid
            if len(message) > 3 and translation != message:
                found[message] = translation
    return found


def assert_in(language: str, page: Page, *domains: str) -> None:
    """Nothing that is read on the page is a message in English."""
    messages = english(language, *domains)
    translated = set(messages.values())
    whole = {message for message in messages if "%(" not in message} - translated
    parts = [re.sub(r"%\\?\(\w+\\?\)[sdg]", ".+", re.escape(m)) for m in messages if "%(" in m]
    pattern = re.compile("|".join(part for part in parts if re.search("[A-Za-z]{4}", part)))
    read = page.evaluate(READ)
    assert [text for text in read if text in whole or pattern.fullmatch(text)] == []
    # What has the page in its language at all: an empty page has no English, either.
    assert translated & set(read)


@pytest.fixture
def speaking(
    server: Server, new_context: Callable[..., BrowserContext]
) -> Callable[[str, str], Page]:
    """Opens a page in a browser that asks for a language."""

    def open_page(language: str, path: str) -> Page:
        page = new_context(locale=f"{language}-{language.upper()}", viewport=WIDE).new_page()
        page.goto(server.origin + path)
        return page

    return open_page


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_conversation(language: str, speaking: Callable[[str, str], Page]) -> None:
    page = speaking(language, "/workshop/")

    def looks_right() -> None:
        for size in (WIDE, PHONE):
            page.set_viewport_size(size)
            assert_in(language, page, "djangojs")
            assert_fits(page)

    words = english(language, "djangojs", "django")
    chat = page.locator("chat-session")
    expect(chat.locator("[part=starters]")).to_be_visible()
    looks_right()
    box = chat.get_by_role("textbox")
    box.fill("think")
    box.press("Enter")
    expect(chat.locator("[part=step-state]").last).to_have_text(words["Failed"])
    for step in chat.locator("details").all():
        step.evaluate("(step) => { step.open = true; }")
    expect(chat.locator("[part=step-error]").last).to_have_text(words["This step has failed."])
    expect(chat.locator("[part=author]").last).to_have_text(words.get("Assistant", "Assistant"))
    looks_right()
    chat.get_by_role("button", name=words["Settings"]).click()
    expect(chat.get_by_role("button", name=words["Save"])).to_be_visible()
    looks_right()
    page.keyboard.press("Escape")
    box.fill("nonsense")
    box.press("Enter")
    failure = chat.locator("[part~=error] [part=content]").last
    expect(failure).to_have_text(words["Something went wrong. Please try again."])
    chat.get_by_role("button", name=words["End chat"]).click()
    looks_right()
    chat.locator("[part=end-confirm]").click()
    expect(chat.locator("[part=banner]")).to_contain_text(
        words["You have ended this conversation."]
    )
    looks_right()


@pytest.mark.parametrize(
    "language",
    [pytest.param(name, marks=[] if name == "de" else pytest.mark.slow) for name in LANGUAGES],
)
def test_the_admin(
    language: str,
    server: Server,
    speaking: Callable[[str, str], Page],
    open_chat: Callable[..., Chat],
) -> None:
    chat = open_chat("counter")
    chat.say("hello")
    expect(chat.contents).to_have_count(3)
    page = speaking(language, "/admin/chatsessions/worker/")
    log_in_by_form(page, add_staff(server))
    expect(page.locator("#result_list")).to_be_visible()
    assert_in(language, page, "django")
    for path in (
        "worker/",
        f"chatsession/?q={chat.session}",  # others may have English words in them
        "chatsession/?q=nobody",
        f"chatsession/{chat.session}/change/",
        f"chatsession/{chat.session}/delete/",
    ):
        page.goto(f"{server.origin}/admin/chatsessions/{path}")
        assert_in(language, page, "django")
    page.goto(f"{server.origin}/admin/chatsessions/chatsession/{chat.session}/change/")
    page.locator(".chatsessions-end summary").click()
    page.get_by_role("button", name=english(language, "django")["Yes, end it"]).click()
    expect(page.locator(".messagelist")).to_be_visible()
    assert_in(language, page, "django")


#: Whether the first letter of a text is on the right of its box.
RIGHT = """(element) => {
  const range = document.createRange();
  range.setStart(element.firstChild, 0);
  range.setEnd(element.firstChild, 1);
  const [letter, box] = [range.getBoundingClientRect(), element.getBoundingClientRect()];
  return letter.left - box.left > box.right - letter.right;
}"""


def say(chat: Locator, text: str) -> None:
    """In any language, to a bot that says it again twice."""
    contents = chat.locator("[part=content]")
    count = contents.count()
    box = chat.get_by_role("textbox")
    box.fill(text)
    expect(box).to_have_css("unicode-bidi", "plaintext")
    box.press("Enter")
    expect(contents).to_have_count(count + 3)


def assert_each_has_its_own_direction(chat: Locator) -> None:
    """Whatever that of the page is: in a message, and while it is written."""
    contents = chat.locator("[part=content]")
    before = contents.count()
    say(chat, "مرحبا - and on")
    say(chat, "hello - مرحبا")
    found = contents.evaluate_all(f"all => all.map({RIGHT})")
    assert found[before:] == [True] * 3 + [False] * 3


TELL = """(element, [type, detail]) => element.client.dispatchEvent(
  new CustomEvent(type, { detail: { live: true, ...detail } }))"""


def test_a_page_in_german_in_a_browser_that_asks_for_english(
    server: Server, new_context: Callable[..., BrowserContext]
) -> None:
    """Dates and numbers are those of the page; each text has its own direction."""
    page = new_context(locale="en-US", timezone_id="UTC").new_page()
    page.clock.set_fixed_time("2026-05-01T15:04:00Z")
    page.goto(f"{server.origin}/arabic/?language=de")
    chat = page.locator("chat-session")
    assert_each_has_its_own_direction(chat)
    titles = [time.get_attribute("title") for time in chat.locator("time").all()]
    assert titles
    assert all(re.fullmatch(r"\d+\.\d+\.\d{4}, \d\d:\d\d:\d\d", title or "") for title in titles)

    # A text that streams runs as its first letter does, from right to left at once. When it is
    # whole, each of its paragraphs runs as its own.
    message = {"id": "m", "content": "", "streaming": True}
    chat.evaluate(TELL, ["event", {"seq": 0, "name": "message", "data": message}])
    for index, text in enumerate(["- שלום ", "עולם\n", "hello\n"]):
        chat.evaluate(TELL, ["token", {"message": "m", "index": index, "text": text}])
    content = chat.locator("[part=content]").last
    expect(content).to_have_text("- שלום עולם hello")
    expect(content).to_have_css("direction", "rtl")
    expect(content).to_have_css("unicode-bidi", "isolate")
    whole = {"id": "m", "content": "- שלום עולם\nhello\n", "streaming": False}
    chat.evaluate(TELL, ["event", {"seq": 0, "name": "message_update", "data": whole}])
    expect(content).to_have_css("unicode-bidi", "plaintext")
    expect(content).to_have_css("direction", "ltr")


def test_from_right_to_left(server: Server, new_context: Callable[..., BrowserContext]) -> None:
    """The page's direction is the element's: what is on the right is on the left."""
    page = new_context(locale="ar", viewport=PHONE).new_page()
    page.goto(f"{server.origin}/arabic/?language=ar")
    chat = page.locator("chat-session")
    say(chat, "مرحبا، كيف حالك اليوم؟")

    def box(part: str) -> dict[str, float]:
        found = chat.locator(part).first.bounding_box()
        assert found
        return {"left": found["x"], "right": found["x"] + found["width"], **found}

    for size in (WIDE, PHONE):
        page.set_viewport_size(size)
        own, other, middle = box("[part~=own]"), box("[part~=other]"), size["width"] / 2
        assert box("[part=send]")["right"] <= box("[part=input]")["left"]
        assert box("[part=end]")["right"] <= box("[part=heading]")["left"] + 1
        assert own["left"] < middle - own["width"] / 2
        assert other["right"] > middle
        assert_fits(page)
    assert_each_has_its_own_direction(chat)

    page.goto(f"{server.origin}/arabic/?language=ar&bot=workshop")
    arrow = chat.locator("[part=end] [data-points]")
    expect(arrow).to_be_visible()
    assert arrow.evaluate("(icon) => new DOMMatrix(getComputedStyle(icon).transform).a") == -1
    for size in (WIDE, PHONE):
        page.set_viewport_size(size)
        assert_fits(page)

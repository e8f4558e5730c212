"""The page and the admin in each language: no word of English, and room for it on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polib
import pytest
from django.contrib.auth.models import User
from playwright.sync_api import BrowserContext, Page, expect

from tests.server.harness import Server

from .test_admin_pages import PASSWORD
from .test_look import STICKING_OUT

pytestmark = pytest.mark.browser

PHONE = {"width": 360, "height": 640}
WIDE = {"width": 1100, "height": 800}
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
#: Buttons whose words have no room in them.
TOO_NARROW = """
() => {
  const chats = [...document.querySelectorAll("chat-session")];
  return chats.flatMap((chat) => [...chat.shadowRoot.querySelectorAll("button")])
    .filter((button) => button.checkVisibility() && button.scrollWidth > button.clientWidth + 1)
    .map((button) => button.textContent);
}
"""


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


def assert_fits(page: Page) -> None:
    assert page.evaluate(STICKING_OUT) == []
    assert page.evaluate(TOO_NARROW) == []


@pytest.fixture(params=[PHONE, WIDE], ids=["phone", "wide"])
def speaking(
    request: pytest.FixtureRequest, server: Server, new_context: Callable[..., BrowserContext]
) -> Callable[[str, str], Page]:
    """Opens a page in a browser that asks for a language."""

    def open_page(language: str, path: str) -> Page:
        context = new_context(locale=f"{language}-{language.upper()}", viewport=request.param)
        page = context.new_page()
        page.goto(server.origin + path)
        return page

    return open_page


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_conversation(language: str, speaking: Callable[[str, str], Page]) -> None:
    page = speaking(language, "/workshop/")
    words = english(language, "djangojs", "django")
    chat = page.locator("chat-session")
    expect(chat.locator("[part=starters]")).to_be_visible()
    assert_in(language, page, "djangojs")
    assert_fits(page)
    box = chat.get_by_role("textbox")
    box.fill("think")
    box.press("Enter")
    expect(chat.locator("[part=step-state]").last).to_have_text(words["Failed"])
    for step in chat.locator("details").all():
        step.evaluate("(step) => { step.open = true; }")
    expect(chat.locator("[part=step-error]").last).to_have_text(words["This step has failed."])
    expect(chat.locator("[part=author]").last).to_have_text(words.get("Assistant", "Assistant"))
    assert_in(language, page, "djangojs")
    assert_fits(page)
    chat.get_by_role("button", name=words["Settings"]).click()
    expect(chat.get_by_role("button", name=words["Save"])).to_be_visible()
    assert_in(language, page, "djangojs")
    assert_fits(page)
    page.keyboard.press("Escape")
    box.fill("nonsense")
    box.press("Enter")
    failure = chat.locator("[part~=error] [part=content]").last
    expect(failure).to_have_text(words["Something went wrong. Please try again."])
    chat.get_by_role("button", name=words["End chat"]).click()
    assert_in(language, page, "djangojs")
    assert_fits(page)
    chat.locator("[part=end-confirm]").click()
    expect(chat.locator("[part=banner]")).to_contain_text(
        words["You have ended this conversation."]
    )
    assert_in(language, page, "djangojs")
    assert_fits(page)


@pytest.mark.parametrize(
    "language",
    [pytest.param(name, marks=[] if name == "de" else pytest.mark.slow) for name in LANGUAGES],
)
def test_the_admin(
    language: str, server: Server, speaking: Callable[[str, str], Page], open_chat: Any
) -> None:
    chat = open_chat("counter")
    chat.say("hello")
    expect(chat.contents).to_have_count(3)
    if server.database.user_id("admin") is None:
        user = User(username="admin")
        user.set_password(PASSWORD)
        server.database.add_user(user)
        server.database.execute("UPDATE auth_user SET is_staff = 1, is_superuser = 1")
    page = speaking(language, "/admin/chatsessions/worker/")
    page.locator("#id_username").fill("admin")
    page.locator("#id_password").fill(PASSWORD)
    page.locator("input[type=submit]").click()
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


def test_dates_and_numbers_are_those_of_the_page(
    server: Server, new_context: Callable[..., BrowserContext]
) -> None:
    """Whose browser asks for English reads a page in German, if the site says so."""
    page = new_context(locale="en-US", timezone_id="UTC").new_page()
    page.clock.set_fixed_time("2026-05-01T15:04:00Z")
    page.goto(f"{server.origin}/arabic/?language=de")
    chat = page.locator("chat-session")
    chat.get_by_role("textbox").fill("hallo")
    chat.get_by_role("textbox").press("Enter")
    expect(chat.locator("[part=content]")).to_have_count(3)
    titles = [time.get_attribute("title") for time in chat.locator("time").all()]
    assert titles
    assert all(re.fullmatch(r"\d+\.\d+\.\d{4}, \d\d:\d\d:\d\d", title or "") for title in titles)


#: Whether the first letter of a text is on the right of its box.
RIGHT = """(element) => {
  const range = document.createRange();
  range.setStart(element.firstChild, 0);
  range.setEnd(element.firstChild, 1);
  const [letter, box] = [range.getBoundingClientRect(), element.getBoundingClientRect()];
  return letter.left - box.left > box.right - letter.right;
}"""


@pytest.mark.parametrize("language", ["de", "ar"])
def test_each_text_has_its_own_direction(language: str, server: Server, page: Page) -> None:
    """Whatever that of the page is: in a message, and while it is written."""
    page.goto(f"{server.origin}/arabic/?language={language}")
    chat = page.locator("chat-session")
    contents = chat.locator("[part=content]")
    for count, text in enumerate(("مرحبا - and on", "hello - مرحبا"), start=1):
        chat.get_by_role("textbox").fill(text)
        expect(chat.get_by_role("textbox")).to_have_css("unicode-bidi", "plaintext")
        chat.get_by_role("textbox").press("Enter")
        expect(contents).to_have_count(3 * count)
    assert [one.evaluate(RIGHT) for one in contents.all()] == [True] * 3 + [False] * 3


@pytest.mark.parametrize("viewport", [PHONE, WIDE], ids=["phone", "wide"])
def test_from_right_to_left(
    viewport: Any, server: Server, new_context: Callable[..., BrowserContext]
) -> None:
    """The page's direction is the element's: what is on the right is on the left."""
    page = new_context(locale="ar", viewport=viewport).new_page()
    page.goto(f"{server.origin}/arabic/?language=ar")
    chat = page.locator("chat-session")
    box = chat.get_by_role("textbox")
    box.fill("مرحبا، كيف حالك اليوم؟")
    box.press("Enter")
    contents = chat.locator("[part=content]")
    expect(contents).to_have_count(3)
    send = chat.locator("[part=send]")
    where = {
        name: locator.bounding_box() or {}
        for name, locator in (("send", send), ("box", box), ("end", chat.locator("[part=end]")))
    }
    heading = chat.locator("[part=heading]").bounding_box() or {}
    assert where["send"]["x"] + where["send"]["width"] <= where["box"]["x"]
    assert where["end"]["x"] + where["end"]["width"] <= heading["x"] + 1
    own = chat.locator("[part~=own]").bounding_box() or {}
    other = chat.locator("[part~=other]").first.bounding_box() or {}
    assert own["x"] < viewport["width"] / 2 - own["width"] / 2
    assert other["x"] + other["width"] > viewport["width"] / 2
    assert_fits(page)
    page.goto(f"{server.origin}/arabic/?language=ar&bot=workshop")
    arrow = chat.locator("[part=end] [data-points]")
    expect(arrow).to_be_visible()
    assert arrow.evaluate("(icon) => new DOMMatrix(getComputedStyle(icon).transform).a") == -1
    assert_fits(page)

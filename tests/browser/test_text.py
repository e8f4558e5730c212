"""What is said is text, whoever says it, with links, and can be copied; what went wrong is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from tests.server.harness import Server

from .chat import GREETING, Chat, counted, scripts

pytestmark = pytest.mark.browser

EMPTY = "Nothing here yet. Write the first message below."
MARKUP = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "<b>bold</b> &amp; <a href='javascript:alert(3)'>link</a>",
    "</div></article><iframe srcdoc='<script>alert(4)</script>'>",
)
#: Several lines, tabs, emoji, and nothing but symbols.
SPACES = "  two\n\n    lines\tand 👩‍👩‍👧 ‮back‬ ¯\\_(ツ)_/¯"
FAILURE = "Something went wrong. Please try again."


def test_what_is_said_is_text(server: Server, open_chat: Callable[..., Chat]) -> None:
    """
    From the user, from the bot, as author, streamed, and after a reload: shown as it is written, on
    a bare page that forbids nothing, and loads nothing but the element.
    """
    parrot = open_chat(path="/bare/")
    dialogs: list[str] = []
    parrot.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    expect(parrot.element.get_by_role("region", name="Conversation")).to_be_visible()
    parrot.is_("Online")
    expect(parrot.log.get_by_text(EMPTY)).to_be_visible()
    assert (parrot.element.bounding_box() or {})["height"] >= 18 * 16
    # Enter on nothing, or on nothing but space, sends nothing.
    parrot.say("")
    parrot.say("  \n ")
    parrot.send.click()
    expected: list[str] = []
    for text in (*MARKUP, SPACES):
        parrot.say(text)
        expected += [text] * 3
        expect(parrot.contents).to_have_count(len(expected))
        expect(parrot.streaming).to_have_count(0)
    for _ in range(2):
        parrot.shows(*expected)
        assert parrot.texts() == expected
        expect(parrot.log.get_by_text(EMPTY)).to_be_hidden()
        authors = parrot.log.locator("[part=author]").all_inner_texts()
        assert [author for author in authors if "<" in author] == list(MARKUP)
        assert parrot.log.locator("script, img, iframe, b, a").count() == 0
        parrot.reload()
        parrot.is_("Online")
    assert dialogs == []
    parrot.shows_what_is_stored(server.database)
    assert scripts(parrot.page) == ["chat-session.js"]


def test_what_the_user_wrote_is_changed_and_removed_in_its_place(
    open_chat: Callable[..., Chat],
) -> None:
    """
    By a bot that takes back what was said: now, and when the page reads it from the log. An id that
    a client has chosen takes no answer away.
    """
    parrot = open_chat(path="/bare/")
    parrot.say("swear")
    parrot.shows("* * *")
    parrot.say("unsay")
    parrot.say("hello")
    parrot.shows("* * *", "hello", "hello", "hello")
    expect(parrot.log.locator("[part~=own]")).to_have_count(2)

    answer = parrot.messages.nth(2).get_attribute("data-id")
    chosen = "(e, [content, id]) => e.client.send('message', { content, id })"
    parrot.element.evaluate(chosen, ["swear", answer])
    parrot.shows("* * *", "hello", "hello", "hello", "* * *")
    parrot.element.evaluate(chosen, ["unsay", answer])
    parrot.say("bye")
    for _ in range(2):
        parrot.shows("* * *", "hello", "hello", "hello", "* * *", "bye", "bye", "bye")
        expect(parrot.log.locator("[part~=own]")).to_have_count(4)
        parrot.reload()


def test_what_went_wrong(open_chat: Callable[..., Chat]) -> None:
    """
    A handler that fails is told in the place of an answer, with none of the server's secrets, and
    the conversation goes on. A message that is too large is refused at once, with the reason, and
    stays where it was written. All of it under a strict policy.
    """
    parrot = open_chat(path="/csp/source/")
    parrot.say("fail")
    parrot.shows("fail", FAILURE)
    expect(parrot.log.locator("[part~=error]")).to_have_text(FAILURE)
    styled = parrot.element.locator("[part=chat]").evaluate("it => getComputedStyle(it).display")
    assert styled == "flex"

    large = "x" * 300_000
    parrot.say(large)
    alert = parrot.element.get_by_role("alert")
    expect(alert).to_contain_text("The message is too large.")
    expect(parrot.input).to_have_value(large)
    parrot.press("Dismiss")
    expect(alert).to_be_hidden()
    parrot.say("small")
    parrot.shows("fail", FAILURE, "small", "small", "small")

    # A stream that ends before its first word leaves no empty bubble.
    parrot.say("stumble")
    for _ in range(2):
        parrot.shows("fail", FAILURE, "small", "small", "small", "stumble", FAILURE)
        expect(parrot.streaming).to_have_count(0)
        expect(parrot.log.locator("article[hidden]")).to_have_count(1)
        assert "secret" not in (parrot.page.content() + parrot.log.inner_html())
        parrot.reload()


#: By the text: its links, as they are written and where they lead if that is not the same.
TEXTS: dict[str, list[str | tuple[str, str]]] = {
    "See https://a.example/b.html, and http://c.example.": [
        "https://a.example/b.html",
        ("http://c.example", "http://c.example/"),
    ],
    "(https://a.example/b_(c)) [http://d.example/?e[]=1] «http://f.example/»": [
        "https://a.example/b_(c)",
        "http://d.example/?e[]=1",
        "http://f.example/",
    ],
    "**https://a.example/?b=c&d=e#f** … 'http://g.example/h'!?": [
        "https://a.example/?b=c&d=e#f",
        "http://g.example/h",
    ],
    "mailto:ada@b.example?subject=c or HTTPS://A.EXAMPLE/B": [
        "mailto:ada@b.example?subject=c",
        ("HTTPS://A.EXAMPLE/B", "https://a.example/B"),
    ],
    "見てhttps://例え.example/道。": [
        ("https://例え.example/道", "https://xn--r8jz45g.example/%E9%81%93")
    ],
    # Letters of another alphabet, and a sign after which all is the other way round.
    "https://\u0430pple.example/": [
        ("https://\u0430pple.example/", "https://xn--pple-43d.example/")
    ],
    "https://a.example/\u202egnp.exe \u202ehttps://b.example/": [
        "https://a.example/",
        "https://b.example/",
    ],
    "<a href='https://a.example/'>b</a>": ["https://a.example/"],
    "javascript:alert(1) data:text/html,x ftp://a.example xhttp://b.example": [],
    "http:// https://? mailto:nobody http://[ https://a b": [("https://a", "https://a/")],
}
LINKS = """content => [...content.querySelectorAll("a")].map(
  ({ textContent, href, title, rel, target }) => ({ textContent, href, title, rel, target })
)"""


#: Each of a megabyte, as one message of a bot may have.
HOSTILE = {
    "brackets": ("http://a.example/", ")"),
    "openings": ("http://a.example/", "(]"),
    "addresses": ("", "http://a.example "),
    "beginnings": ("", "http://"),
    "marks": ("mailto:", "."),
    "letters": ("", "mailto"),
}

#: Shows a message, and how long that takes.
SHOW = """async (element, text) => {
  const data = { id: text.slice(0, 30), content: text };
  const entry = { seq: 0, name: "message", data, live: true };
  const log = element.shadowRoot.querySelector("[part=list]");
  const messages = log.getElementsByTagName("article");
  const before = messages.length;
  element.client.dispatchEvent(new CustomEvent("event", { detail: entry }));
  while (messages.length === before) await new Promise(requestAnimationFrame);
  const shown = messages[before].querySelector("[part=content]");
  if (shown.textContent !== text) throw new Error("it is another text");
  shown.closest("article").remove();
  return shown.querySelectorAll("a").length;
}"""


def test_links(open_chat: Callable[..., Chat]) -> None:
    """
    In what a person says, in what a bot says at once or in a stream, and after a reload. Hostile
    texts of a megabyte are there to the letter, their links are not too many; a search in quadratic
    time would take hours.
    """
    chat = open_chat(path="/bare/")
    for count, text in enumerate(TEXTS, start=1):
        chat.say(text)
        expect(chat.contents).to_have_count(3 * count)
    for again in (False, True):
        if again:
            chat.reload()
        expect(chat.contents).to_have_count(3 * len(TEXTS))
        expect(chat.streaming).to_have_count(0)
        count = sum(len(links) for links in TEXTS.values())
        expect(chat.log.locator("a")).to_have_count(3 * count)
        assert chat.texts() == [text for text in TEXTS for _ in range(3)]
        found = chat.contents.evaluate_all(f"contents => contents.map({LINKS})")
        assert found == [expected(links) for links in TEXTS.values() for _ in range(3)]
    for start, repeated in HOSTILE.values():
        text = start + repeated * (2**20 // len(repeated))
        assert chat.element.evaluate(SHOW, text) <= 500


def expected(links: list[str | tuple[str, str]]) -> list[dict[str, Any]]:
    pairs = [(link, link) if isinstance(link, str) else link for link in links]
    rel = {"rel": "noopener noreferrer nofollow", "target": "_blank"}
    return [{"textContent": text, "href": href, "title": href, **rel} for text, href in pairs]


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

"""What is said is text, whoever says it; and what went wrong is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.server.harness import Server

from .chat import Chat, scripts

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

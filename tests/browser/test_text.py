"""What is said is text, whoever says it; and what went wrong is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.server.harness import Server

from .chat import Chat

pytestmark = pytest.mark.browser

EMPTY = "Nothing here yet. Write the first message below."
MARKUP = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    "<b>bold</b> &amp; <a href='javascript:alert(3)'>link</a>",
    "</div></article><iframe srcdoc='<script>alert(4)</script>'>",
)


@pytest.fixture
def parrot(open_chat: Callable[..., Chat]) -> Chat:
    return open_chat(path="/csp/source/")


def test_nothing_said_yet(parrot: Chat) -> None:
    """A bot without a greeting leaves an invitation, which goes with the first message."""
    parrot.is_("Online")
    expect(parrot.log.get_by_text(EMPTY)).to_be_visible()
    parrot.say("hello")
    expect(parrot.log.get_by_text(EMPTY)).to_be_hidden()
    parrot.shows("hello", "hello", "hello")
    parrot.reload()
    parrot.shows("hello", "hello", "hello")
    expect(parrot.log.get_by_text(EMPTY)).to_be_hidden()


@pytest.mark.parametrize("path", ["/bare/", "/csp/source/"])
def test_markup_is_text(path: str, server: Server, open_chat: Callable[..., Chat]) -> None:
    """From the user, from the bot, as author, streamed, and after a reload: shown as written."""
    parrot = open_chat(path=path)
    dialogs: list[str] = []
    parrot.page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    expected: list[str] = []
    for text in MARKUP:
        parrot.say(text)
        expected += [text] * 3
        expect(parrot.contents).to_have_count(len(expected))
        expect(parrot.streaming).to_have_count(0)
    for _ in range(2):
        parrot.shows(*expected)
        authors = parrot.log.locator("[part=author]").all_inner_texts()
        assert [author for author in authors if "<" in author] == list(MARKUP)
        assert parrot.log.locator("script, img, iframe, b, a").count() == 0
        parrot.reload()
        parrot.is_("Online")
    assert dialogs == []
    parrot.shows_what_is_stored(server.database)


def test_spaces_and_lines_are_kept(server: Server, parrot: Chat) -> None:
    """What is written in several lines, with tabs, emoji or nothing but symbols, comes back so."""
    text = "  two\n\n    lines\tand 👩‍👩‍👧 ‮back‬ ¯\\_(ツ)_/¯"
    parrot.say(text)
    expect(parrot.contents).to_have_count(3)
    expect(parrot.streaming).to_have_count(0)
    assert parrot.texts() == [text] * 3
    parrot.shows_what_is_stored(server.database)


def test_what_the_user_wrote_is_changed_and_removed_in_its_place(
    server: Server, parrot: Chat
) -> None:
    """By a bot that takes back what was said: now, and when the page reads it from the log."""
    parrot.say("swear")
    parrot.shows("* * *")
    parrot.say("unsay")
    parrot.say("hello")
    parrot.shows("* * *", "hello", "hello", "hello")
    expect(parrot.log.locator("[part~=own]")).to_have_count(2)
    parrot.reload()
    parrot.shows("* * *", "hello", "hello", "hello")
    expect(parrot.log.locator("[part~=own]")).to_have_count(2)


def test_an_id_that_a_client_has_chosen_takes_no_answer_away(parrot: Chat) -> None:
    parrot.say("hello")
    parrot.shows("hello", "hello", "hello")
    answer = parrot.messages.nth(1).get_attribute("data-id")
    parrot.element.evaluate(
        "(e, id) => e.client.send('message', { content: 'swear', id })", arg=answer
    )
    parrot.shows("hello", "hello", "hello", "* * *")
    parrot.element.evaluate(
        "(e, id) => e.client.send('message', { content: 'unsay', id })", arg=answer
    )
    parrot.say("bye")
    parrot.shows("hello", "hello", "hello", "* * *", "bye", "bye", "bye")
    parrot.reload()
    parrot.shows("hello", "hello", "hello", "* * *", "bye", "bye", "bye")


def test_blank_is_not_sent(parrot: Chat) -> None:
    """Enter on nothing, or on nothing but space, sends nothing."""
    parrot.is_("Online")
    parrot.say("")
    parrot.say("  \n ")
    parrot.send.click()
    parrot.say("hello")
    parrot.shows("hello", "hello", "hello")


def test_a_handler_that_fails(parrot: Chat) -> None:
    """
    The page says so in the place of an answer, tells nothing of the server's secrets, and the
    conversation goes on.
    """
    failure = "Something went wrong. Please try again."
    parrot.say("fail")
    parrot.shows("fail", failure)
    expect(parrot.log.locator("[part~=error]")).to_have_text(failure)
    parrot.say("on")
    parrot.shows("fail", failure, "on", "on", "on")
    parrot.reload()
    parrot.shows("fail", failure, "on", "on", "on")
    assert "secret" not in (parrot.page.content() + parrot.log.inner_html())


def test_a_stream_that_ends_before_its_first_word(parrot: Chat) -> None:
    """It leaves no empty bubble, neither at once nor after a reload."""
    parrot.say("stumble")
    for _ in range(2):
        parrot.shows("stumble", "Something went wrong. Please try again.")
        expect(parrot.streaming).to_have_count(0)
        expect(parrot.log.locator("article[hidden]")).to_have_count(1)
        parrot.reload()


def test_a_message_that_is_too_large(parrot: Chat) -> None:
    """It is refused at once, with the reason, and stays where it was written."""
    parrot.is_("Online")
    large = "x" * 300_000
    parrot.say(large)
    alert = parrot.element.get_by_role("alert")
    expect(alert).to_contain_text("The message is too large.")
    expect(parrot.input).to_have_value(large)
    parrot.press("Dismiss")
    expect(alert).to_be_hidden()
    parrot.say("small")
    parrot.shows("small", "small", "small")

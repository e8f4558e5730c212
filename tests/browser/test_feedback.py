"""Thumbs under the answers of a bot that asks for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from tests.server.harness import Server

from .chat import Chat

pytestmark = pytest.mark.browser


def thumb(chat: Chat, name: str, nth: int = 0) -> Locator:
    return chat.log.get_by_role("button", name=name).nth(nth)


def pressed(chat: Chat, nth: int = 0) -> list[str | None]:
    """Which thumbs of an answer are pressed, as a screen reader is told."""
    return [
        thumb(chat, name, nth).get_attribute("aria-pressed")
        for name in ("Good answer", "Bad answer")
    ]


def test_an_answer_is_given_a_thumb(server: Server, open_chat: Callable[..., Chat]) -> None:
    """By the keyboard too; another one takes its place, and once more takes it back."""
    chat = open_chat(path="/critic/")
    chat.say("one")
    chat.shows("one", "re one")
    chat.say("two")
    chat.shows("one", "re one", "two", "re two")
    expect(chat.log.locator("[part=thumb]")).to_have_count(4)  # none under what a person says
    thumb(chat, "Good answer").click()
    thumb(chat, "Bad answer", 1).focus()
    chat.page.keyboard.press("Enter")
    assert (pressed(chat), pressed(chat, 1)) == (["true", "false"], ["false", "true"])
    chat.reload()
    chat.shows("one", "re one", "two", "re two")
    expect(thumb(chat, "Good answer")).to_have_attribute("aria-pressed", "true")
    expect(thumb(chat, "Bad answer", 1)).to_have_attribute("aria-pressed", "true")
    thumb(chat, "Bad answer").click()
    thumb(chat, "Bad answer", 1).click()
    assert (pressed(chat), pressed(chat, 1)) == (["false", "true"], ["false", "false"])
    chat.reload()
    expect(thumb(chat, "Bad answer")).to_have_attribute("aria-pressed", "true")
    expect(thumb(chat, "Bad answer", 1)).to_have_attribute("aria-pressed", "false")


def comments(server: Server, chat: Chat) -> list[tuple[str, str]]:
    """The thumbs that are stored, with what was said."""
    rows = server.database.query(
        "SELECT value, comment FROM chatsessions_sessionfeedback WHERE session_id = ?",
        chat.session.replace("-", ""),
    )
    return [(row["value"], row["comment"]) for row in rows]


def test_a_thumb_is_given_with_a_comment(server: Server, open_chat: Callable[..., Chat]) -> None:
    """Who wants to says more, in a field that goes when it is sent, given up or of no use."""
    chat = open_chat(path="/critic/")
    chat.say("one")
    chat.shows("one", "re one")
    field = chat.log.get_by_role("textbox", name="Comment (optional)")
    send = chat.log.get_by_role("button", name="Send")
    good, bad = thumb(chat, "Good answer"), thumb(chat, "Bad answer")
    keyboard = chat.page.keyboard
    bad.focus()
    keyboard.press("Enter")
    expect(field).to_be_visible()
    expect(bad).to_be_focused()
    keyboard.press("Tab")
    expect(field).to_be_focused()
    keyboard.type("half a")
    keyboard.press("Escape")
    expect(field).to_have_count(0)
    expect(bad).to_be_focused()
    good.click()
    expect(field).to_have_value("")
    good.click()
    expect(field).to_have_count(0)

    # It goes on though its answer is changed: what was typed is there, the cursor too.
    good.click()
    field.click()
    keyboard.type("<b>half</b> thought")
    for _ in range(8):
        keyboard.press("ArrowLeft")
    chat.element.evaluate("({ client }) => client.send('mend')")
    chat.shows("one", "re one, mended")
    expect(field).to_be_focused()
    keyboard.type(" a")
    expect(field).to_have_value("<b>half</b> a thought")
    assert pressed(chat) == ["true", "false"]
    send.click()
    expect(field).to_have_count(0)
    expect(good).to_be_focused()
    chat.say("two")
    chat.shows("one", "re one, mended", "two", "re two")
    assert comments(server, chat) == [("up", "<b>half</b> a thought")]

    # It is there to be changed, goes along with another thumb, and is gone with the last one.
    chat.reload()
    chat.shows("one", "re one, mended", "two", "re two")
    bad.click()
    expect(field).to_have_value("<b>half</b> a thought")
    field.fill("far too short")
    send.click()
    expect(field).to_have_count(0)
    assert pressed(chat) == ["false", "true"]
    good.click()
    expect(field).to_have_value("far too short")
    chat.say("three")
    expect(chat.contents.last).to_have_text("re three")
    assert comments(server, chat) == [("up", "far too short")]
    field.fill("")
    send.click()
    chat.say("four")
    expect(chat.contents.last).to_have_text("re four")
    assert comments(server, chat) == [("up", "")]
    good.click()
    good.click()
    expect(field).to_have_value("")

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
    thumb(chat, "Bad answer").focus()
    keyboard = chat.page.keyboard
    keyboard.press("Enter")
    expect(field).to_be_visible()
    expect(thumb(chat, "Bad answer")).to_be_focused()
    keyboard.press("Tab")
    expect(field).to_be_focused()
    keyboard.type("half a")
    keyboard.press("Escape")
    expect(field).to_have_count(0)
    expect(thumb(chat, "Bad answer")).to_be_focused()
    thumb(chat, "Good answer").click()
    expect(field).to_have_value("")
    thumb(chat, "Good answer").click()
    expect(field).to_have_count(0)
    thumb(chat, "Good answer").click()
    field.fill("<b>good</b>\nindeed")
    chat.log.get_by_role("button", name="Send").click()
    expect(field).to_have_count(0)
    expect(thumb(chat, "Good answer")).to_be_focused()
    expect(thumb(chat, "Good answer")).to_have_attribute("aria-pressed", "true")
    chat.say("two")
    chat.shows("one", "re one", "two", "re two")
    assert comments(server, chat) == [("up", "<b>good</b>\nindeed")]


def test_a_comment_stays_with_its_answer(server: Server, open_chat: Callable[..., Chat]) -> None:
    """It is there to be changed, goes along with another thumb, and is gone with the last one."""
    chat = open_chat(path="/critic/")
    chat.say("one")
    chat.shows("one", "re one")
    field = chat.log.get_by_role("textbox", name="Comment (optional)")
    send = chat.log.get_by_role("button", name="Send")
    thumb(chat, "Good answer").click()
    field.fill("too short")
    send.click()
    chat.reload()
    chat.shows("one", "re one")
    thumb(chat, "Bad answer").click()
    expect(field).to_have_value("too short")
    field.fill("far too short")
    send.click()
    expect(field).to_have_count(0)
    thumb(chat, "Good answer").click()
    expect(field).to_have_value("far too short")
    chat.say("two")
    chat.shows("one", "re one", "two", "re two")
    assert comments(server, chat) == [("up", "far too short")]
    field.fill("")
    send.click()
    chat.say("three")
    chat.shows("one", "re one", "two", "re two", "three", "re three")
    assert comments(server, chat) == [("up", "")]
    thumb(chat, "Good answer").click()
    thumb(chat, "Good answer").click()
    expect(field).to_have_value("")


def test_a_comment_goes_on_though_its_answer_is_changed(
    server: Server, open_chat: Callable[..., Chat]
) -> None:
    """What was typed is there, the cursor too; and the thumbs still work."""
    chat = open_chat(path="/critic/")
    chat.say("one")
    chat.shows("one", "re one")
    field = chat.log.get_by_role("textbox", name="Comment (optional)")
    thumb(chat, "Good answer").click()
    field.click()
    keyboard = chat.page.keyboard
    keyboard.type("half thought")
    for _ in range(8):
        keyboard.press("ArrowLeft")
    chat.element.evaluate("({ client }) => client.send('mend')")
    chat.shows("one", "re one, mended")
    expect(field).to_be_focused()
    keyboard.type(" a")
    expect(field).to_have_value("half a thought")
    assert pressed(chat) == ["true", "false"]
    chat.log.get_by_role("button", name="Send").click()
    expect(field).to_have_count(0)
    expect(thumb(chat, "Good answer")).to_be_focused()
    thumb(chat, "Bad answer").click()
    assert pressed(chat) == ["false", "true"]
    chat.say("two")
    chat.shows("one", "re one, mended", "two", "re two")
    assert comments(server, chat) == [("down", "half a thought")]


def test_a_bot_that_does_not_ask_gets_none(server: Server, open_chat: Callable[..., Chat]) -> None:
    chat = open_chat("counter")
    chat.say("hello")
    expect(chat.messages).to_have_count(3)
    expect(chat.log.locator("[part=thumb]")).to_have_count(0)

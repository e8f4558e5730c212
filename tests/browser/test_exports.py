"""A user takes the conversation with them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

from tests.server.harness import Server

from .chat import Chat
from .test_widget import Widget

pytestmark = pytest.mark.browser

NAME = "Export conversation"


def exported(chat: Chat, kind: str) -> str:
    """The file that the page saves, if it offers none when asked to."""
    chat.element.evaluate("element => element.setAttribute('export', '')")
    chat.press(NAME)
    dialog = chat.element.get_by_role("dialog", name=NAME)
    with chat.page.expect_download() as download:
        dialog.get_by_role("button", name=kind).click()
    expect(dialog).to_be_hidden()
    return download.value.path().read_text()


def test_as_text_and_as_data(open_chat: Callable[..., Chat]) -> None:
    """Under a strict policy, with a name for the file; and when the conversation is over."""
    chat = open_chat(path="/csp/workshop/")
    chat.say("fixed")
    expect(chat.contents).to_have_text(["fixed", "so"])
    text = exported(chat, "Markdown")
    assert text.index("fixed") < text.index("so\n")
    chat.press("End chat")
    chat.press("End it now")
    chat.is_("Ended")
    data = json.loads(exported(chat, "JSON"))
    assert [message["content"] for message in data["messages"]] == ["fixed", "so"]


def test_the_file_has_a_name(open_chat: Callable[..., Chat]) -> None:
    chat = open_chat(path="/workshop/")
    chat.say("fixed")
    expect(chat.contents).to_have_count(2)
    chat.press(NAME)
    with chat.page.expect_download() as download:
        chat.element.get_by_role("button", name="JSON").click()
    assert download.value.suggested_filename.startswith("fixed")
    assert download.value.suggested_filename.endswith(".json")


def test_in_the_widget(server: Server, page: Page) -> None:
    page.goto(f"{server.origin}/widget/")
    widget = Widget(page)
    widget.open()
    widget.chat.say("hello")
    expect(widget.chat.contents).to_have_count(3)
    assert "hello" in exported(widget.chat, "Markdown")
    expect(widget.panel).to_be_visible()


def test_by_the_keyboard_and_what_cannot_be_fetched(open_chat: Callable[..., Chat]) -> None:
    """It is said, and nothing is lost by another try."""
    chat = open_chat(path="/workshop/")
    chat.is_("Online")
    chat.page.route("**/export/?**", lambda route: route.abort("connectionrefused"))
    chat.element.get_by_role("button", name=NAME).focus()
    chat.page.keyboard.press("Enter")
    dialog = chat.element.get_by_role("dialog", name=NAME)
    dialog.get_by_role("button", name="JSON").press("Enter")
    expect(dialog.get_by_role("status")).to_have_text("The file could not be fetched.")
    chat.page.unroute_all()
    with chat.page.expect_download():
        chat.page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(chat.element.get_by_role("button", name=NAME)).to_be_focused()


def test_a_double_click_fetches_one_file(open_chat: Callable[..., Chat]) -> None:
    """One that comes late leaves the dialog alone, if it was opened again meanwhile."""
    chat = open_chat(path="/workshop/")
    chat.is_("Online")
    held: list[Route] = []
    chat.page.route("**/export/?**", lambda route: held.append(route))
    chat.press(NAME)
    dialog = chat.element.get_by_role("dialog", name=NAME)
    dialog.get_by_role("button", name="JSON").dblclick()
    expect(dialog.get_by_role("status")).to_have_text("Loading…")
    chat.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    chat.press(NAME)
    expect(dialog.get_by_role("status")).to_be_empty()
    with chat.page.expect_download():
        held[0].continue_()
    expect(dialog).to_be_visible()
    assert len(held) == 1
    chat.page.unroute_all()
    with chat.page.expect_download():
        dialog.get_by_role("button", name="Markdown").click()
    expect(dialog).to_be_hidden()


def test_where_there_is_no_way_to_it_none_is_offered(open_chat: Callable[..., Chat]) -> None:
    """Nor where the page does not want it, as by default."""
    chat = open_chat(path="/workshop/")
    button = chat.element.get_by_role("button", name=NAME)
    expect(button).to_be_visible()
    chat.element.evaluate("element => element.removeAttribute('api')")
    expect(button).to_be_hidden()
    other = open_chat(path="/bare/")
    other.is_("Online")
    expect(other.element.get_by_role("button", name=NAME)).to_have_count(0)

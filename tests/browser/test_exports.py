"""A user takes the conversation with them."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from playwright.sync_api import Route, expect

from .chat import Chat, next_of

pytestmark = pytest.mark.browser

NAME = "Export conversation"


def test_as_text_and_as_data(open_chat: Callable[..., Chat]) -> None:
    """Under a strict policy, with a name for the file; and when the conversation is over."""
    chat = open_chat(path="/csp/workshop/")
    chat.say("fixed")
    expect(chat.contents).to_have_text(["fixed", "so"])
    text = chat.export("Markdown").path().read_text()
    assert text.index("fixed") < text.index("so\n")
    chat.end()
    file = chat.export("JSON")
    data = json.loads(file.path().read_text())
    assert [message["content"] for message in data["messages"]] == ["fixed", "so"]
    assert file.suggested_filename.startswith("fixed")
    assert file.suggested_filename.endswith(".json")


def test_what_cannot_be_fetched_and_what_comes_late(open_chat: Callable[..., Chat]) -> None:
    """
    It is said, and nothing is lost by another try; a double click fetches one file. Where there is
    no way to it none is offered.
    """
    chat = open_chat(path="/workshop/")
    chat.is_("Online")
    keyboard = chat.page.keyboard
    button = chat.element.get_by_role("button", name=NAME)
    dialog = chat.element.get_by_role("dialog", name=NAME)
    held: list[Route] = []
    chat.page.route("**/export/?**", lambda route: held.append(route))
    button.focus()
    keyboard.press("Enter")
    dialog.get_by_role("button", name="JSON").press("Enter")
    next_of(held, chat.page).abort("connectionrefused")
    expect(dialog.get_by_role("status")).to_have_text("The file could not be fetched.")
    keyboard.press("Enter")
    with chat.page.expect_download():
        next_of(held, chat.page).continue_()
    expect(dialog).to_be_hidden()
    expect(button).to_be_focused()

    # One that comes late leaves the dialog alone, if it was opened again meanwhile.
    button.click()
    dialog.get_by_role("button", name="JSON").dblclick()
    expect(dialog.get_by_role("status")).to_have_text("Loading…")
    keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    button.click()
    expect(dialog.get_by_role("status")).to_be_empty()
    with chat.page.expect_download():
        next_of(held, chat.page).continue_()
    expect(dialog).to_be_visible()
    assert held == []
    chat.page.unroute_all()
    with chat.page.expect_download():
        dialog.get_by_role("button", name="Markdown").click()
    expect(dialog).to_be_hidden()

    chat.element.evaluate("element => element.removeAttribute('api')")
    expect(button).to_be_hidden()

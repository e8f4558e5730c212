"""The user's last message, sent again: as it was, or changed."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.server.harness import Server

from .chat import Chat, Line

pytestmark = pytest.mark.browser

CANCEL = "Cancel"
EDIT = "Edit"
AGAIN = "Try again"
NOTES = FilePayload(name="a.txt", mimeType="text/plain", buffer=b"text")


@pytest.fixture
def chat(open_chat: Callable[..., Chat]) -> Chat:
    return open_chat(path="/patient/")


def buttons(chat: Chat, name: str) -> Locator:
    return chat.log.get_by_role("button", name=name)


def steps(chat: Chat) -> Locator:
    return chat.log.locator("[part=step]")


def is_answered_anew(chat: Chat, again: Callable[[], None]) -> None:
    """The last answer is another one then."""
    answer = chat.messages.last.get_attribute("data-id")
    again()
    expect(chat.messages.last).not_to_have_attribute("data-id", answer or "")


def test_an_edited_message_takes_the_place_of_what_was_said(chat: Chat) -> None:
    """
    What came before stays; the page shows the same once it is loaded anew. Escape gives an edit up,
    and what was being written before is there again.
    """
    keyboard = chat.page.keyboard
    chat.say("one")
    chat.shows("one", "re one, 0 file(s)")
    chat.input.fill("half a")
    chat.log.focus()
    keyboard.press("Tab")
    expect(buttons(chat, EDIT)).to_be_focused()
    keyboard.press("Enter")
    expect(chat.input).to_be_focused()
    expect(chat.input).to_have_value("one")
    keyboard.type(" and more")
    keyboard.press("Escape")
    expect(chat.input).to_have_value("half a")
    expect(chat.input).to_be_focused()
    buttons(chat, EDIT).focus()
    keyboard.press("Tab")
    expect(buttons(chat, AGAIN)).to_be_focused()
    is_answered_anew(chat, lambda: keyboard.press("Enter"))
    chat.shows("one", "re one, 0 file(s)")
    chat.input.press("Enter")
    chat.shows("one", "re one, 0 file(s)", "half a", "re half a, 0 file(s)")

    expect(buttons(chat, EDIT)).to_have_count(1)  # below the last message alone
    chat.press(EDIT)
    expect(chat.input).to_have_value("half a")
    expect(chat.input).to_be_focused()
    expect(chat.input).to_have_accessible_description(
        re.compile("^You are changing your last message")
    )
    chat.say("three")
    for again in (False, True):
        if again:
            chat.reload()
        chat.shows("one", "re one, 0 file(s)", "three", "re three, 0 file(s)")
        expect(steps(chat)).to_have_count(2)
        expect(chat.input).to_have_value("")
        expect(chat.element.get_by_role("button", name=CANCEL)).to_be_hidden()
    chat.press(EDIT)
    expect(chat.input).to_have_value("three")
    chat.say("four")
    chat.shows("one", "re one, 0 file(s)", "four", "re four, 0 file(s)")


def test_what_has_files_is_sent_again_with_them(chat: Chat) -> None:
    """An edit that is not sent survives a reload, and so does what was written before it."""
    chat.attach(NOTES)
    expect(chat.element.locator("[part=attachment-state]")).to_have_text("4 bytes")
    chat.say("look")
    chat.shows("look", "re look, 1 file(s)")
    is_answered_anew(chat, lambda: chat.press(AGAIN))
    chat.shows("look", "re look, 1 file(s)")
    expect(chat.input).to_be_focused()
    chat.input.fill("half a")
    chat.press(EDIT)
    chat.input.fill("look closer")
    chat.reload()
    chat.shows("look", "re look, 1 file(s)")
    expect(chat.input).to_have_value("look closer")
    expect(chat.element.get_by_role("button", name=CANCEL)).to_be_visible()
    chat.input.press("Enter")
    chat.shows("look closer", "re look closer, 1 file(s)")
    expect(chat.log.get_by_text("a.txt")).to_have_count(1)
    expect(chat.input).to_have_value("half a")
    chat.press(EDIT)
    chat.reload()
    chat.press(CANCEL)
    chat.reload()
    expect(chat.input).to_have_value("half a")
    expect(chat.element.get_by_role("button", name=CANCEL)).to_be_hidden()


def test_an_edit_goes_with_its_conversation(server: Server, chat: Chat) -> None:
    """Who begins another one changes nothing there. Where it is over, an edit is a draft."""
    cancel = chat.element.get_by_role("button", name=CANCEL)
    chat.say("one")
    chat.shows("one", "re one, 0 file(s)")
    chat.press(EDIT)
    chat.input.fill("two")
    chat.element.evaluate("({ client }) => client.newSession({})")
    expect(chat.contents).to_have_count(0)
    expect(cancel).to_be_hidden()
    chat.reload()
    expect(cancel).to_be_hidden()
    chat.say("three")
    chat.shows("three", "re three, 0 file(s)")

    for draft, kept in (("", "four"), ("half a", "half a\n\nfour")):
        chat.input.fill(draft)
        chat.press(EDIT)
        chat.input.fill("four")
        session, url = chat.session, chat.page.url
        chat.leave(server.database)
        server.database.update_session(
            session, status="ended", end_reason="admin", ended_at="2026-01-01"
        )
        chat.page.goto(url)
        expect(chat.notes).to_have_text("Your earlier conversation has ended. This is a new one.")
        for _ in range(2):
            expect(chat.input).to_have_value(kept)
            expect(cancel).to_be_hidden()
            chat.reload()
        expect(chat.input).to_have_value(kept)
        chat.input.press("Enter")
        chat.shows(kept, f"re {kept}, 0 file(s)")


#: Two messages that take the place of one that is not the last, after what nobody has written.
REFUSED = """({ client }) => {
  client.send("action", { id: "none", name: "none", content: "no words" });
  client.sendMessage("first", [], 99);
  client.sendMessage("second", [], 99);
}"""


LISTEN = """() => {
  window.refused = [];
  addEventListener("chat-event-refused", ({ detail }) => refused.push(detail.frame.name));
}"""


def test_what_is_refused_is_given_back_below_what_is_being_written(chat: Chat) -> None:
    """All of it, and the page is told; the cursor stays where it is, and an edit goes on."""
    chat.say("one")
    chat.shows("one", "re one, 0 file(s)")
    chat.page.evaluate(LISTEN)
    chat.element.evaluate(REFUSED)
    expect(chat.element.get_by_role("alert")).to_contain_text("Only the last message")
    expect(chat.input).to_have_value("first\n\nsecond")
    assert chat.page.evaluate("window.refused") == ["action", "message", "message"]
    chat.input.fill("half a")
    chat.input.press("Home")
    chat.element.evaluate(REFUSED)
    expect(chat.input).to_have_value("half a\n\nfirst\n\nsecond")
    chat.page.keyboard.type("not ")
    chat.press(EDIT)
    chat.input.fill("two")
    chat.press("Dismiss")
    chat.element.evaluate(REFUSED)
    expect(chat.element.get_by_role("alert")).to_contain_text("Only the last message")
    expect(chat.waiting).to_have_count(0)
    expect(chat.input).to_have_value("two")
    chat.press(CANCEL)
    expected = "not half a" + 2 * "\n\nfirst\n\nsecond"
    expect(chat.input).to_have_value(expected)
    chat.reload()
    expect(chat.input).to_have_value(expected)


def test_what_a_stopped_turn_still_says_is_not_shown(server: Server, chat: Chat) -> None:
    """Nor is its question asked any more."""
    chat.say("wait")
    chat.shows("wait", "waiting")
    chat.press(EDIT)
    chat.say("ask")
    chat.shows("ask", "What?")
    expect(chat.element.get_by_text("Your next message answers")).to_be_visible()
    chat.press(EDIT)
    chat.say("go on")
    chat.shows("go on", "re go on, 0 file(s)")
    expect(chat.element.get_by_text("Your next message answers")).to_be_hidden()
    assert "too late" in [row.data.get("content") for row in server.database.log(chat.session)]
    chat.reload()
    chat.shows("go on", "re go on, 0 file(s)")


def test_what_is_not_accepted_yet_has_no_buttons(server: Server, page: Page) -> None:
    """
    Sent without a line it waits as any message does, and what it replaces stays until then. The
    beginning of a long conversation is without what was replaced.
    """
    line = Line(page)
    chat = Chat.at(page, f"{server.origin}/patient/")
    chat.say("one")
    chat.shows("one", "re one, 0 file(s)")
    chat.say("try 2")
    chat.shows("one", "re one, 0 file(s)", "try 2", "re try 2, 0 file(s)")
    line.cut()
    chat.press(EDIT)
    chat.say("try 3")
    expect(chat.waiting).to_have_count(1)
    expect(chat.contents).to_have_text(
        ["one", "re one, 0 file(s)", "try 2", "re try 2, 0 file(s)", "try 3"]
    )
    expect(buttons(chat, EDIT)).to_be_hidden()
    line.mend()
    chat.shows("one", "re one, 0 file(s)", "try 3", "re try 3, 0 file(s)")
    expect(buttons(chat, EDIT)).to_be_visible()

    chat.element.evaluate(
        "({ client }) => { for (let n = 4; n <= 80; n++)"
        " client.sendMessage(`try ${n}`, [], n - 1); }"
    )
    branch = ("one", "re one, 0 file(s)", "try 80", "re try 80, 0 file(s)")
    chat.shows(*branch)
    with page.expect_response("**/entries/?**"):
        chat.reload()
    chat.shows(*branch)
    expect(steps(chat)).to_have_count(2)
    expect(buttons(chat, EDIT)).to_have_count(1)

"""Every state of page, widget and admin, as axe-core sees it, and in light and in dark."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, FilePayload, Page, WebSocketRoute, expect

from tests.server.harness import Server

from .chat import Chat, Line, duplicate
from .conftest import add_staff, log_in, log_in_by_form
from .looks import (
    CONTRASTS,
    CONTROL,
    TEXT,
    assert_fits,
    contrast,
    dark_and_light,
    unreadable,
    violations,
)
from .widget import Widget

pytestmark = pytest.mark.browser

#: Of the admin's pages what is not Django's own, such as the search box.
OURS = ["#result_list", "#changelist-filter"]
EMPTY = FilePayload(name="a.txt", mimeType="text/plain", buffer=b"")
SMALL = FilePayload(name="b.txt", mimeType="text/plain", buffer=b"b")


@pytest.fixture
def context(new_context: Callable[..., BrowserContext]) -> BrowserContext:
    """Nothing moves: a colour that changes has no contrast."""
    return new_context(reduced_motion="reduce")


def test_a_conversation(open_chat: Callable[..., Chat]) -> None:
    """Empty, with steps, files, a bar, its dialogs, and ended."""
    chat = open_chat(path="/workshop/")
    page = chat.page
    expect(chat.element.get_by_role("button", name="Think it over")).to_be_visible()
    assert violations(page) == []
    chat.say("think")
    expect(chat.contents).to_have_count(2)
    for summary in chat.log.locator("summary").all():
        summary.evaluate("summary => { summary.parentElement.open = true; }")
    chat.say("files")
    expect(chat.log.locator("audio")).to_have_count(1)
    expect(chat.log.locator("[part=file-text]")).to_be_visible()
    chat.attach(SMALL, EMPTY)
    expect(chat.element.locator("[data-failed]")).to_have_count(1)
    assert violations(page) == []
    chat.press("Remove a.txt")
    chat.press("Remove b.txt")
    chat.say("haul")
    expect(chat.element.get_by_role("progressbar", name="Hauling")).to_be_visible()
    assert violations(page) == []
    assert contrast(chat.stop, "border") >= CONTROL
    chat.press("Settings")
    assert violations(page) == []
    chat.element.get_by_role("tab", name="Taste").click()
    assert violations(page) == []
    page.keyboard.press("Escape")
    chat.press("Export conversation")
    assert violations(page) == []
    page.keyboard.press("Escape")
    chat.press("End chat")
    assert violations(page) == []
    chat.press("End it now")
    chat.is_("Ended")
    assert violations(page) == []


def test_what_is_done_with_a_message(open_chat: Callable[..., Chat]) -> None:
    """Copied, judged, with a comment, followed where it leads, sent again, and changed."""
    critic = open_chat(path="/critic/")
    critic.say("https://a.example")
    expect(critic.log.get_by_role("link")).to_have_count(2)
    critic.press("Bad answer")
    comment = critic.log.get_by_role("textbox", name="Comment (optional)")
    expect(comment).to_be_visible()
    assert violations(critic.page) == []
    critic.page.set_viewport_size({"width": 320, "height": 568})
    for control in (comment, critic.log.get_by_role("button", name="Cancel")):
        control.scroll_into_view_if_needed()
        expect(control).to_be_in_viewport(ratio=1)
    assert_fits(critic.page)
    patient = open_chat(path="/patient/")
    patient.say("one")
    expect(patient.log.get_by_role("button", name="Try again")).to_be_visible()
    assert violations(patient.page) == []
    patient.press("Edit")
    assert violations(patient.page) == []


def test_questions_and_settings(open_chat: Callable[..., Chat]) -> None:
    """For a text, for a choice, and for files."""
    quiz = open_chat("quiz")
    quiz.press("Play")
    expect(quiz.element.get_by_role("textbox", name="Your answer")).to_be_visible()
    assert violations(quiz.page) == []
    quiz.answer("Ada")
    jupiter = quiz.element.get_by_role("button", name="Jupiter")
    expect(jupiter).to_be_visible()
    assert violations(quiz.page) == []
    assert contrast(jupiter, "border") >= CONTROL
    shelf = open_chat("shelf")
    shelf.press("Ask me for pictures")
    expect(shelf.element.get_by_role("button", name="Choose files")).to_be_visible()
    assert violations(shelf.page) == []
    echo = open_chat("echo")
    echo.press("Settings")
    words = echo.element.get_by_role("textbox", name="Words to leave out")
    words.fill("rain")
    words.press("Enter")
    assert violations(echo.page) == []
    for control in (echo.element.get_by_role("switch"), words):
        assert contrast(control, "border") >= CONTROL


@pytest.mark.usefixtures("without_tls")
def test_what_goes_wrong_and_while_there_is_no_connection(server: Server, page: Page) -> None:
    """On a page without an answer yet, too; and while another tab has the conversation."""
    line = Line(page)
    chat = Chat.at(page, f"{server.origin}/csp/source/")
    chat.is_("Online")
    assert unreadable(page) == []
    assert contrast(chat.input, "border") >= CONTROL
    chat.say("fail")
    expect(chat.contents).to_have_count(2)
    chat.say("x" * 300_000)
    expect(chat.element.get_by_role("alert")).to_be_visible()
    chat.input.fill("text")
    assert unreadable(page) == []
    chat.press("Dismiss")
    line.cut()
    chat.say("meanwhile")
    expect(chat.waiting).to_contain_text("meanwhile")
    assert unreadable(page) == []
    line.mend()
    chat.is_("Online")
    copy = Chat(duplicate(page))
    expect(chat.banner).to_contain_text("another tab")
    assert unreadable(page) == []
    copy.end()
    copy.reload()
    expect(copy.notes.first).to_be_visible()
    assert unreadable(copy.page) == []

    page.goto(f"{server.origin}/chat/storyteller/")
    chat.say("rain")
    chat.has_story(words=3)
    assert violations(page) == []
    line.cut()
    chat.say("meanwhile")
    expect(chat.waiting).to_contain_text("meanwhile")
    assert violations(page) == []


def test_before_a_conversation(server: Server, page: Page) -> None:
    """The start page, a choice of profiles, a form for keys, and a chat that is refused."""
    for path in ("/chat/telegraph/", "/"):
        page.goto(server.origin + path)
        assert unreadable(page) == []
        body = page.locator("body")
        for scheme in dark_and_light(page):
            assert body.evaluate(CONTRASTS)["dark"] == (scheme == "dark")
    chat = Chat(page)
    page.goto(f"{server.origin}/chat/guide/")
    expect(chat.element.get_by_role("button", name="Start")).to_be_visible()
    assert violations(page) == []
    chat.press("Start")
    chat.is_("Online")
    assert unreadable(page) == []
    page.goto(f"{server.origin}/chat/vault/")
    expect(chat.element.get_by_role("button", name="Save and connect")).to_be_visible()
    assert violations(page) == []

    def refuse(socket: WebSocketRoute) -> None:
        socket.on_message(lambda _: socket.close(code=4502))

    page.route_web_socket("**/ws/**", refuse)
    page.goto(f"{server.origin}/chat/counter/")
    chat.is_("Not available")
    assert violations(page) == []


def test_earlier_conversations(server: Server, context: BrowserContext, page: Page) -> None:
    log_in(server, context)
    chat = Chat.at(page, f"{server.origin}/chat/assistant/")
    chat.say("I like hats")
    expect(chat.contents).to_have_count(3)
    chat.press("New conversation")
    chat.press("Earlier conversations")
    panel = chat.element.get_by_role("dialog")
    expect(panel.get_by_role("button", name="I like hats")).to_be_visible()
    assert violations(page) == []


def test_the_widget(server: Server, page: Page) -> None:
    """Closed, open, on a phone, and with something unread."""
    page.goto(server.origin)
    widget = Widget(page)
    expect(widget.button).to_be_visible()
    assert violations(page) == []
    widget.open()
    expect(widget.chat.contents).to_have_count(1)
    assert violations(page) == []
    # At half of 1100 pixels, as with a zoom of 200 %, and at 320, all can be reached.
    for size in ({"width": 550, "height": 350}, {"width": 320, "height": 568}):
        page.set_viewport_size(size)
        for control in (widget.chat.input, widget.chat.send, widget.close):
            expect(control).to_be_in_viewport(ratio=1)
    page.wait_for_function(
        "() => document.querySelector('chat-widget').shadowRoot.querySelector('dialog:modal')"
    )
    assert violations(page) == []
    widget.close.click()
    widget.hear("how many?")
    expect(widget.badge).to_be_visible()
    assert violations(page) == []


@pytest.mark.slow
def test_the_admin(server: Server, page: Page, open_chat: Callable[..., Chat]) -> None:
    """What the admin shows of ours: the lists, and a session with its transcript."""
    chat = open_chat("quiz")
    chat.press("Play")
    admin = f"{server.origin}/admin/chatsessions"
    page.goto(f"{admin}/chatsession/")
    log_in_by_form(page, add_staff(server))
    expect(page.get_by_role("link", name=chat.session[:8])).to_be_visible()
    assert violations(page, OURS) == []
    page.goto(f"{admin}/chatsession/{chat.session}/change/")
    expect(page.locator("#transcript")).to_be_visible()
    assert violations(page, ["#content"]) == []
    page.goto(f"{admin}/worker/")
    expect(page.locator("#result_list")).to_be_visible()
    assert violations(page, OURS) == []


def test_forced_colours(server: Server, new_context: Callable[..., BrowserContext]) -> None:
    """What is drawn by a background alone is seen: what moves, and what is open or unread."""
    page = new_context(forced_colors="active", reduced_motion="reduce").new_page()
    chat = Chat.at(page, f"{server.origin}/workshop/")
    chat.say("haul")
    dot = chat.element.locator("[part=dots] i").first
    for shown in (dot, chat.stop):
        expect(shown).to_be_visible()
    assert dot.evaluate(CONTRASTS)["background"] >= CONTROL
    texts = chat.element.locator("[part=content], [part=work-label], button")
    assert texts.count()
    for text in texts.filter(visible=True).all():
        assert text.evaluate(CONTRASTS)["text"] >= TEXT
    page.goto(server.origin)
    widget = Widget(page)
    assert widget.button.evaluate(CONTRASTS)["border"] >= CONTROL
    widget.open()
    widget.close.click()
    widget.hear("how many?")
    expect(widget.badge).to_be_visible()
    assert widget.badge.evaluate(CONTRASTS)["text"] >= TEXT

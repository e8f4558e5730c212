"""Every state of page, widget and admin, as axe-core sees it, in light and in dark."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, WebSocketRoute, expect

from tests.server.harness import Server

from .axe import violations
from .chat import Chat, Line
from .test_look import CONTROL, assert_fits, assert_readable, colours, contrast
from .test_widget import Widget

pytestmark = pytest.mark.browser

#: Of the admin's pages what is not Django's own, such as the search box.
OURS = ["#result_list", "#changelist-filter"]


@pytest.fixture
def context(new_context: Callable[..., BrowserContext]) -> BrowserContext:
    """Nothing moves: a colour that changes has no contrast."""
    return new_context(reduced_motion="reduce")


def test_a_conversation(open_chat: Callable[..., Chat], page: Page) -> None:
    """Empty, with steps, files, a bar, its dialogs, and ended."""
    chat = open_chat(path="/workshop/")
    page = chat.page
    expect(chat.element.get_by_role("button", name="Think it over")).to_be_visible()
    assert violations(page) == []
    chat.say("think")
    expect(chat.contents).to_have_count(2)
    chat.log.locator("summary").first.click()
    chat.say("files")
    expect(chat.log.locator("audio")).to_have_count(1)
    expect(chat.log.locator("[part=file-text]")).to_be_visible()
    with page.expect_file_chooser() as chooser:
        chat.press("Attach files")
    empty = {"name": "a.txt", "mimeType": "text/plain", "buffer": b""}
    chooser.value.set_files([{**empty, "name": "b.txt", "buffer": b"b"}, empty])
    expect(chat.element.locator("[data-failed]")).to_have_count(1)
    assert violations(page) == []
    chat.press("Remove a.txt")
    chat.press("Remove b.txt")
    chat.say("haul")
    expect(chat.element.get_by_role("progressbar", name="Hauling")).to_be_visible()
    assert violations(page) == []
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
    assert violations(critic.page) == []
    patient = open_chat(path="/patient/")
    patient.say("one")
    expect(patient.log.get_by_role("button", name="Try again")).to_be_visible()
    assert violations(patient.page) == []
    patient.press("Edit")
    assert violations(patient.page) == []


def test_questions(open_chat: Callable[..., Chat]) -> None:
    """For a text, for a choice, and for files."""
    quiz = open_chat("quiz")
    quiz.press("Play")
    answer = quiz.element.get_by_role("textbox", name="Your answer")
    expect(answer).to_be_visible()
    assert violations(quiz.page) == []
    answer.press_sequentially("Ada\n")
    expect(quiz.element.get_by_role("button", name="Jupiter")).to_be_visible()
    assert violations(quiz.page) == []
    shelf = open_chat("shelf")
    shelf.press("Ask me for pictures")
    expect(shelf.element.get_by_role("button", name="Choose files")).to_be_visible()
    assert violations(shelf.page) == []


@pytest.mark.usefixtures("without_tls")
def test_while_an_answer_comes_and_while_there_is_no_connection(server: Server, page: Page) -> None:
    line = Line(page)
    page.goto(f"{server.origin}/chat/storyteller/")
    chat = Chat(page)
    chat.say("rain")
    chat.has_story(words=3)
    assert violations(page) == []
    line.cut()
    chat.say("meanwhile")
    expect(chat.waiting).to_contain_text("meanwhile")
    assert violations(page) == []


def test_before_a_conversation(server: Server, page: Page) -> None:
    """A choice of profiles, a form for keys, and a chat that is refused."""
    page.goto(f"{server.origin}/chat/guide/")
    chat = Chat(page)
    expect(chat.element.get_by_role("button", name="Start")).to_be_visible()
    assert violations(page) == []
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
    name, value = server.login("reader").split("=")
    context.add_cookies([{"name": name, "value": value, "url": server.origin}])
    page.goto(f"{server.origin}/chat/assistant/")
    chat = Chat(page)
    chat.say("I like hats")
    expect(chat.contents).to_have_count(3)
    chat.press("New conversation")
    chat.press("Earlier conversations")
    expect(
        chat.element.get_by_role("dialog").get_by_role("button", name="I like hats")
    ).to_be_visible()
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
    page.set_viewport_size({"width": 360, "height": 640})
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
    name, value = server.login("boss").split("=")
    server.database.execute(
        "UPDATE auth_user SET is_staff = 1, is_superuser = 1 WHERE username = 'boss'"
    )
    page.context.add_cookies([{"name": name, "value": value, "url": server.origin}])
    admin = f"{server.origin}/admin/chatsessions"
    page.goto(f"{admin}/chatsession/")
    expect(page.get_by_role("link", name=chat.session[:8])).to_be_visible()
    assert violations(page, OURS) == []
    page.goto(f"{admin}/chatsession/{chat.session}/change/")
    expect(page.locator("#transcript")).to_be_visible()
    assert violations(page, ["#content"]) == []
    page.goto(f"{admin}/worker/")
    expect(page.locator("#result_list")).to_be_visible()
    assert violations(page, OURS) == []


def test_narrow_windows_and_twice_the_size(server: Server, page: Page) -> None:
    """At 320 pixels, and at half of 1100 as with a zoom of 200 %, all can be reached."""
    sizes = ({"width": 320, "height": 568}, {"width": 550, "height": 350})
    page.goto(f"{server.origin}/workshop/")
    chat = Chat(page)
    chat.say("files")
    chat.say("haul")
    expect(chat.element.get_by_role("progressbar", name="Hauling")).to_be_visible()
    for size in sizes:
        page.set_viewport_size(size)
        assert_fits(page)
        chat.press("Settings")
        save = chat.element.get_by_role("button", name="Save")
        save.scroll_into_view_if_needed()
        expect(save).to_be_in_viewport(ratio=1)
        assert_fits(page)
        page.keyboard.press("Escape")
    page.goto(server.origin)
    widget = Widget(page)
    widget.open()
    for size in sizes:
        page.set_viewport_size(size)
        for control in (widget.chat.input, widget.chat.send, widget.close):
            expect(control).to_be_in_viewport(ratio=1)


def test_forced_colours(server: Server, new_context: Callable[..., BrowserContext]) -> None:
    """What is drawn by a background alone is seen: what moves, and what is open or unread."""
    page = new_context(forced_colors="active", reduced_motion="reduce").new_page()
    page.goto(f"{server.origin}/workshop/")
    chat = Chat(page)
    chat.say("haul")
    for dot in (chat.element.locator("[part=dots] i").first, chat.stop):
        expect(dot).to_be_visible()
    seen = colours(chat.element.locator("[part=dots] i").first)
    assert contrast(seen.background, seen.around) >= CONTROL
    assert_readable(chat.element.locator("[part=content], [part=work-label], button"))
    page.goto(server.origin)
    widget = Widget(page)
    button = colours(widget.button)
    assert contrast(button.border, button.around) >= CONTROL
    widget.open()
    widget.close.click()
    widget.hear("how many?")
    assert_readable(widget.badge)

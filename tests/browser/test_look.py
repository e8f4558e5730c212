"""Room for everything, on a phone and in windows of any width."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, FilePayload, Page, expect

from tests.server.harness import Server

from .chat import Chat, Line
from .looks import PHONE, assert_apart, assert_fits, assert_large_enough, assert_side_by_side

pytestmark = pytest.mark.browser

AT_THE_END = "log => log.scrollHeight - log.scrollTop - log.clientHeight < 2"


@pytest.fixture
def phone(new_context: Callable[..., BrowserContext]) -> Page:
    return new_context(viewport=PHONE, has_touch=True, is_mobile=True).new_page()


def test_everything_is_in_line(server: Server, page: Page) -> None:
    """The messages and what stands below them have the same edges."""
    line = Line(page)
    chat = Chat.at(page, f"{server.origin}/csp/source/")
    chat.say("hello")
    expect(chat.contents).to_have_count(3)
    line.cut()
    for width in (360, 800, 1100):
        page.set_viewport_size({"width": width, "height": 700})
        edges = set()
        for part in ("list", "composer-row", "banner"):
            box = chat.element.locator(f"[part={part}]").bounding_box()
            assert box
            edges.add((round(box["x"]), round(box["x"] + box["width"])))
        assert len(edges) == 1


def test_narrow_windows_and_twice_the_size(
    server: Server, new_context: Callable[..., BrowserContext]
) -> None:
    """At 320 pixels, and at half of 1100 as with a zoom of 200 %, all can be reached."""
    sizes = ({"width": 320, "height": 568}, {"width": 550, "height": 350})
    page = new_context(viewport=PHONE, reduced_motion="reduce").new_page()
    chat = Chat.at(page, f"{server.origin}/workshop/")
    starter = chat.element.get_by_role("button", name="Think it over")
    expect(starter).to_be_visible()
    assert_fits(page)
    starter.click()
    expect(chat.contents.last).to_have_text("Thought.")
    for summary in chat.log.locator("summary").all():
        summary.click()
    assert_fits(page)
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


def test_a_conversation_on_a_phone(server: Server, phone: Page) -> None:
    """Whatever is said, and whatever happens, everything is on the screen, and nothing overlaps."""
    line = Line(phone)
    chat = Chat.at(phone, f"{server.origin}/chat/counter/")
    chat.is_("Online")

    def looks_right() -> None:
        assert_fits(phone)
        assert_apart(chat)

    looks_right()
    chat.say("w" * 500)
    chat.say("https://example.com/" + "a-very-long-path/" * 20)
    chat.say("words " * 200)
    expect(chat.contents).to_have_count(7)
    looks_right()
    expect(chat.contents.last).to_be_in_viewport()
    chat.input.fill("line\n" * 40)
    looks_right()
    expect(chat.input).to_be_in_viewport(ratio=1)
    expect(chat.send).to_be_in_viewport(ratio=1)
    assert_side_by_side(chat.input, chat.send)
    chat.input.fill("x" * 300_000)
    chat.send.click()
    expect(chat.element.get_by_role("alert")).to_be_visible()
    looks_right()
    chat.press("Dismiss")
    chat.input.fill("")
    # In the half of the screen that a keyboard leaves, one sees what one writes.
    phone.set_viewport_size({"width": 360, "height": 330})
    expect(chat.input).to_be_in_viewport(ratio=1)
    looks_right()
    phone.set_viewport_size(PHONE)
    header = [chat.element.locator(f"[part={part}]") for part in ("heading", "status", "end")]
    assert_side_by_side(*header)

    line.cut()
    chat.say("meanwhile")
    looks_right()
    line.mend()
    chat.is_("Online")
    chat.press("End chat")
    expect(chat.element.get_by_role("dialog")).to_be_in_viewport(ratio=1)
    assert_fits(phone)
    chat.press("End it now")
    chat.is_("Ended")
    looks_right()
    expect(chat.element.get_by_role("button", name="Start a new")).to_be_in_viewport(ratio=1)


def test_what_is_offered_fits_on_a_phone(server: Server, phone: Page) -> None:
    """The demo's pages, questions, settings, keys, profiles and files, on 360 pixels."""
    phone.goto(server.origin)
    expect(phone.get_by_role("link", name="Storyteller")).to_be_visible()
    assert_fits(phone)
    phone.get_by_role("link", name="Telegraph").click()
    expect(phone.get_by_label("Your telegram")).to_be_visible()
    assert_fits(phone)
    chat = Chat(phone)
    for bot, label in (("guide", "Start"), ("vault", "Save and connect")):
        phone.goto(f"{server.origin}/chat/{bot}/")
        expect(chat.element.get_by_role("button", name=label)).to_be_in_viewport(ratio=1)
        assert_fits(phone)
    phone.goto(f"{server.origin}/chat/quiz/")
    chat.press("Play")
    box = chat.element.get_by_role("textbox", name="Your answer")
    expect(box).to_be_visible()
    assert chat.stop.bounding_box()["height"] <= 32  # its sign and its name are on one line
    box.fill("Ada")
    chat.send.click()
    for name in ("Mars", "Jupiter", "Venus"):
        expect(chat.element.get_by_role("button", name=name)).to_be_in_viewport(ratio=1)
    assert_fits(phone)
    assert_apart(chat)
    phone.goto(f"{server.origin}/chat/echo/")
    chat.press("Settings")
    expect(chat.element.get_by_role("dialog")).to_be_in_viewport(ratio=1)
    assert_fits(phone)
    save = chat.element.get_by_role("button", name="Save")
    save.scroll_into_view_if_needed()
    expect(save).to_be_in_viewport(ratio=1)
    phone.goto(f"{server.origin}/chat/shelf/")
    name = f"{'a very long name ' * 10}.txt"
    file = FilePayload(name=name, mimeType="text/plain", buffer=b"text")
    chat.attach(file, {**file, "buffer": b""})
    expect(chat.element.locator("[data-failed]")).to_have_count(1)
    assert_fits(phone)
    assert_apart(chat)
    assert_large_enough(chat)


def test_a_file_that_is_shown_leaves_the_answer_in_view(server: Server, phone: Page) -> None:
    """The end of what its message says is seen above it, in most of the conversation's room."""
    chat = Chat.at(phone, f"{server.origin}/chat/librarian/")
    chat.press("Crashes")
    text = chat.log.locator("[part=file-text]")
    expect(text).to_be_visible()
    phone.wait_for_function(AT_THE_END, arg=chat.log.element_handle())
    log, shown = chat.log.bounding_box(), text.bounding_box()
    answer = chat.contents.last.bounding_box()
    assert log
    assert shown
    assert answer
    assert shown["height"] <= log["height"] / 2.5
    assert answer["y"] + answer["height"] - log["y"] >= log["height"] / 3


def test_reading_back_is_not_disturbed(server: Server, phone: Page) -> None:
    """
    A reader who has scrolled up stays there while more comes, and gets back down by a button; one
    who is at the end is kept there. All that is touched is large enough.
    """
    chat = Chat.at(phone, f"{server.origin}/chat/storyteller/")
    jump = chat.element.get_by_role("button", name="Jump to latest")
    chat.say("rain\n" * 30)
    before = chat.has_story(words=5)
    phone.wait_for_function(AT_THE_END, arg=chat.log.element_handle())
    expect(jump).to_be_hidden()
    expect(chat.stop).to_be_visible()
    assert_large_enough(chat)
    for control in (chat.input, chat.send):
        assert (control.bounding_box() or {})["height"] >= 40
    chat.log.evaluate("log => log.scrollTo(0, 0)")
    expect(jump).to_be_visible()
    expect(chat.contents.last).not_to_have_text(before)
    assert chat.log.evaluate("log => log.scrollTop") == 0
    jump.click()
    expect(jump).to_be_hidden()
    expect(chat.input).to_be_focused()
    phone.wait_for_function(AT_THE_END, arg=chat.log.element_handle())
    expect(chat.contents.last).to_be_in_viewport()

"""``{% chat_widget %}``: a button in the corner of a page, a chat in the panel that it opens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from tests.server.harness import Server

from .widget import FOCUSED, Widget

pytestmark = pytest.mark.browser

HIDDEN = """
(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, value: hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}
"""


@pytest.fixture
def open_page(server: Server, new_context: Callable[..., BrowserContext]) -> Callable[..., Widget]:
    """A page of a shop with a strict policy and a style that is not meant for others."""

    def open_page(*, path: str = "/widget/", **options: object) -> Widget:
        page = new_context(**options).new_page()
        page.goto(server.origin + path)
        return Widget(page)

    return open_page


PHONE = {"viewport": {"width": 360, "height": 640}, "is_mobile": True, "has_touch": True}


def test_a_chat_in_the_corner_of_a_page(open_page: Callable[..., Widget]) -> None:
    """It is fetched when it is opened; keyboard and screen reader find their way in and out."""
    widget = open_page()
    fetched: list[str] = []
    widget.page.on("request", lambda request: fetched.append(request.url))
    expect(widget.element.get_by_role("button", name="Help", exact=True)).to_be_visible()
    expect(widget.button).to_have_attribute("aria-expanded", "false")
    expect(widget.panel).to_be_hidden()
    assert not widget.page.evaluate("customElements.get('chat-session')")

    widget.page.get_by_role("button", name="Buy").focus()
    widget.page.keyboard.press("Tab")
    widget.page.keyboard.press("Enter")
    widget.has_focus_on("input")
    assert [url for url in fetched if url.endswith("chat-session.js")]
    expect(widget.element.get_by_role("dialog", name="Help")).to_be_visible()
    expect(widget.button).to_have_attribute("aria-expanded", "true")
    controlled = widget.button.get_attribute("aria-controls")
    expect(widget.panel).to_have_id(controlled or "")

    widget.chat.say("hello")
    widget.chat.shows("hello", "hello", "hello")
    # Escape stops what is running before it closes anything, and closes a dialog before the panel.
    widget.chat.press("End chat")
    widget.page.keyboard.press("Escape")
    expect(widget.panel).to_be_visible()
    expect(widget.chat.element.get_by_role("button", name="End it now")).to_be_hidden()
    widget.chat.input.focus()
    widget.page.keyboard.press("Escape")
    expect(widget.panel).to_be_hidden()
    widget.has_focus_on("button")
    expect(widget.button).to_have_attribute("aria-expanded", "false")

    widget.button.click()
    widget.close.click()
    expect(widget.panel).to_be_hidden()
    widget.has_focus_on("button")


def test_what_came_while_it_was_closed(open_page: Callable[..., Widget]) -> None:
    """
    It is counted, said, counted on the next page of the tab too, and gone once it is seen. A title
    counts what comes while the page is hidden, and is whatever the page has by then.
    """
    widget = open_page()
    page = widget.page
    widget.open()
    widget.chat.say("hello")
    widget.chat.shows("hello", "hello", "hello")
    page.evaluate(HIDDEN, True)
    widget.hear("one")
    expect(page).to_have_title("(2) Shop")
    page.evaluate("document.title = 'Sale'")
    widget.hear("two")
    expect(page).to_have_title("(4) Sale")
    page.evaluate(HIDDEN, False)
    assert page.title() == "Sale"
    shown = [text for text in ("hello", "one", "two") for _ in range(3)]
    widget.chat.shows(*shown)
    expect(widget.badge).to_be_hidden()

    widget.close.click()
    expect(widget.badge).to_be_hidden()
    widget.hear("more")
    expect(widget.badge).to_have_text("2")
    expect(widget.element.get_by_role("button", name="Help, 2 new messages")).to_be_visible()
    expect(widget.element.locator("[part=announcer]").first).to_have_text("Help: 2 new messages")
    assert page.title() == "Sale"
    page.evaluate(HIDDEN, True)
    assert page.title() == "(2) Sale"
    widget.hear("again")
    expect(page).to_have_title("(4) Sale")
    page.evaluate(HIDDEN, False)
    assert page.title() == "Sale"

    page.get_by_role("link", name="Elsewhere").click()
    expect(widget.badge).to_have_text("4")
    expect(widget.panel).to_be_hidden()
    widget.button.click()
    expect(widget.badge).to_be_hidden()
    shown += [text for text in ("more", "again") for _ in range(3)]
    widget.chat.shows(*shown)

    # An open panel is open on the next page, with the same conversation; the page keeps its focus.
    page.get_by_role("link", name="Elsewhere").click()
    expect(widget.panel).to_be_visible()
    widget.chat.shows(*shown)
    assert page.evaluate(FOCUSED) == "BODY"
    assert "again" in widget.chat.export("Markdown").path().read_text()
    expect(widget.panel).to_be_visible()
    widget.chat.end()
    widget.close.click()
    expect(widget.element.get_by_role("button", name="Help", exact=True)).to_be_visible()
    page.reload()
    expect(widget.button).to_be_visible()
    assert page.evaluate("document.querySelector('chat-widget').chat") is None


def test_on_a_phone_it_covers_the_page(open_page: Callable[..., Widget]) -> None:
    """The focus stays in it, a keyboard leaves it the rest, and a link leads to its page."""
    widget = open_page(**PHONE)
    widget.open()
    widget.panel.evaluate(
        "panel => Promise.all(panel.getAnimations().map((animation) => animation.finished))"
    )
    assert widget.panel.bounding_box() == {"x": 0, "y": 0, "width": 360, "height": 640}
    assert widget.panel.evaluate("panel => panel.matches(':modal')")
    buy = widget.page.locator("button", has_text="Buy")
    buy.evaluate("button => button.focus()")
    assert widget.panel.evaluate("panel => panel.contains(panel.getRootNode().activeElement)")
    parts = set()
    for _ in range(12):
        widget.page.keyboard.press("Tab")
        parts.add(widget.page.evaluate(FOCUSED))
    assert {"input", "send", "close"} <= parts
    assert "button" not in parts
    widget.page.evaluate(
        """() => {
          Object.defineProperty(visualViewport, "height", { value: 400 });
          visualViewport.dispatchEvent(new Event("resize"));
        }"""
    )
    box = widget.chat.input.bounding_box()
    assert box
    assert box["y"] + box["height"] <= 400
    widget.page.keyboard.press("Escape")
    expect(widget.panel).to_be_hidden()
    widget.has_focus_on("button")
    widget.button.click()
    widget.page.reload()
    expect(widget.panel).to_be_visible()
    widget.page.goto(widget.page.url)
    widget.page.wait_for_function("() => document.querySelector('chat-widget').chat?.client")
    expect(widget.panel).to_be_hidden()


def test_on_a_phone_it_covers_the_page_wherever_it_is_moved_to(
    open_page: Callable[..., Widget],
) -> None:
    widget = open_page(**PHONE)
    widget.open()
    for _ in range(2):  # also on a page that was reloaded with an open panel
        widget.element.evaluate("widget => document.body.prepend(widget)")
        expect(widget.panel).to_be_visible()
        assert widget.panel.evaluate("panel => panel.matches(':modal')")
        expect(widget.button).to_have_attribute("aria-expanded", "true")
        widget.page.reload()
        expect(widget.panel).to_be_visible()


def test_a_panel_on_a_page_with_a_style_of_its_own(open_page: Callable[..., Widget]) -> None:
    """
    Page and widget do not style each other. Where the window becomes narrow an open panel covers
    the page, and leaves it again; the focus stays in it.
    """
    widget = open_page()
    widget.open()
    widget.chat.say("hello")
    widget.chat.shows("hello", "hello", "hello")
    style = """(element) => {
      const { color, letterSpacing, textTransform, transform } = getComputedStyle(element);
      const { height } = element.getBoundingClientRect();
      return { color, letterSpacing, textTransform, transform, height };
    }"""
    found = widget.chat.input.evaluate(style)
    expected = {"letterSpacing": "normal", "textTransform": "none", "transform": "none"}
    assert found | expected == found
    assert found["color"] != "rgb(255, 0, 0)"
    assert found["height"] >= 43  # 2.75 times what the reader has chosen, not what the page has
    assert widget.button.evaluate(style)["height"] == 56
    assert widget.page.locator("h1").evaluate(style)["color"] == "rgb(255, 0, 0)"

    for width, modal in ((400, True), (1100, False)):
        widget.page.set_viewport_size({"width": width, "height": 700})
        widget.page.wait_for_function(
            "(modal) => document.querySelector('chat-widget').shadowRoot"
            ".querySelector('dialog[open]').matches(':modal') === modal",
            arg=modal,
        )
        assert widget.panel.evaluate("panel => panel.contains(panel.getRootNode().activeElement)")
    widget.chat.shows("hello", "hello", "hello")


def test_a_chat_that_cannot_be_fetched(server: Server, browser: Browser) -> None:
    """The panel says so and can be closed, and the console says why. It is tried again later."""
    with browser.new_context() as context:
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.route("**/chat-session.js", lambda route: route.abort())
        page.goto(f"{server.origin}/widget/")
        widget = Widget(page)
        widget.button.click()
        expect(widget.panel).to_contain_text("The chat could not be loaded.")
        assert any("<chat-widget> cannot load <chat-session>" in text for text in complaints)
        widget.close.click()
        widget.has_focus_on("button")
        page.unroute("**/chat-session.js")
        widget.button.click()
        widget.chat.is_("Online")
        expect(widget.panel).not_to_contain_text("The chat could not be loaded.")

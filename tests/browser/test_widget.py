"""``{% chat_widget %}``: a button in the corner of a page, a chat in the panel that it opens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.server.harness import Server

from .chat import Chat

pytestmark = pytest.mark.browser

#: What has the focus, in whichever shadow tree.
FOCUSED = """
() => {
  let element = document.activeElement;
  while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  return element.getAttribute("part") ?? element.tagName;
}
"""
HIDDEN = """
(hidden) => {
  Object.defineProperty(document, "hidden", { configurable: true, value: hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}
"""


class Widget:
    """The widget of a page, in the words of the person who uses it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.element = page.locator("chat-widget")
        self.button = self.element.locator("[part=button]")
        self.badge = self.element.locator("[part=badge]")
        self.panel = self.element.locator("[part=panel]")
        self.close = self.element.get_by_role("button", name="Close chat")
        self.chat = Chat(page)

    def open(self) -> None:
        self.button.click()
        self.chat.is_("Online")

    def hear(self, text: str) -> None:
        """Have the parrot say something twice, with the panel closed."""
        self.element.evaluate("(widget, text) => widget.chat.client.sendMessage(text)", text)

    def has_focus_on(self, part: str) -> None:
        self.page.wait_for_function(f"(part) => ({FOCUSED})() === part", arg=part)


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
    """It is counted, said, counted on the next page of the tab too, and gone once it is seen."""
    widget = open_page()
    widget.open()
    widget.chat.say("hello")
    widget.chat.shows("hello", "hello", "hello")
    widget.close.click()
    expect(widget.badge).to_be_hidden()
    widget.hear("more")
    expect(widget.badge).to_have_text("2")
    expect(widget.element.get_by_role("button", name="Help, 2 new messages")).to_be_visible()
    expect(widget.element.locator("[part=announcer]").first).to_have_text("Help: 2 new messages")
    assert widget.page.title() == "Shop"

    widget.page.evaluate(HIDDEN, True)
    assert widget.page.title() == "(2) Shop"
    widget.hear("again")
    expect(widget.page).to_have_title("(4) Shop")
    widget.page.evaluate(HIDDEN, False)
    assert widget.page.title() == "Shop"

    widget.page.get_by_role("link", name="Elsewhere").click()
    expect(widget.badge).to_have_text("4")
    expect(widget.panel).to_be_hidden()
    widget.button.click()
    expect(widget.badge).to_be_hidden()
    widget.chat.shows(*["hello"] * 3, *["more"] * 3, *["again"] * 3)
    widget.close.click()
    expect(widget.element.get_by_role("button", name="Help", exact=True)).to_be_visible()


def test_the_title_counts_what_comes_while_the_page_is_hidden(
    open_page: Callable[..., Widget],
) -> None:
    """Whatever title the page has by then, it has it back."""
    widget = open_page()
    widget.open()
    widget.page.evaluate(HIDDEN, True)
    widget.hear("one")
    expect(widget.page).to_have_title("(2) Shop")
    widget.page.evaluate("document.title = 'Sale'")
    widget.hear("two")
    expect(widget.page).to_have_title("(4) Sale")
    widget.page.evaluate(HIDDEN, False)
    assert widget.page.title() == "Sale"
    widget.chat.shows(*["one"] * 3, *["two"] * 3)
    expect(widget.badge).to_be_hidden()


def test_an_open_panel_is_open_on_the_next_page(open_page: Callable[..., Widget]) -> None:
    """With the same conversation; and the page keeps its focus."""
    widget = open_page()
    widget.open()
    widget.chat.say("hello")
    widget.chat.shows("hello", "hello", "hello")
    widget.page.get_by_role("link", name="Elsewhere").click()
    expect(widget.panel).to_be_visible()
    widget.chat.shows("hello", "hello", "hello")
    assert widget.page.evaluate(FOCUSED) == "BODY"
    widget.chat.press("End chat")
    widget.chat.press("End it now")
    widget.chat.is_("Ended")
    widget.close.click()
    widget.page.reload()
    expect(widget.button).to_be_visible()
    assert widget.page.evaluate("document.querySelector('chat-widget').chat") is None


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


def test_a_window_that_becomes_narrow_and_wide_again(open_page: Callable[..., Widget]) -> None:
    """An open panel covers the page and leaves it again; the focus stays in it."""
    widget = open_page(viewport={"width": 1100, "height": 700})
    widget.open()
    widget.chat.say("hello")
    for width, modal in ((400, True), (1100, False)):
        widget.page.set_viewport_size({"width": width, "height": 700})
        widget.page.wait_for_function(
            "(modal) => document.querySelector('chat-widget').shadowRoot"
            ".querySelector('dialog[open]').matches(':modal') === modal",
            arg=modal,
        )
        assert widget.panel.evaluate("panel => panel.contains(panel.getRootNode().activeElement)")
    widget.chat.shows("hello", "hello", "hello")


def test_the_page_and_the_widget_do_not_style_each_other(open_page: Callable[..., Widget]) -> None:
    """Whatever a page says of all its elements, the chat is as readable as anywhere."""
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

"""A widget on a page, in the words of the person who uses it."""

from __future__ import annotations

from playwright.sync_api import Page

from .chat import Chat

#: What has the focus, in whichever shadow tree.
FOCUSED = """
() => {
  let element = document.activeElement;
  while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
  return element.getAttribute("part") ?? element.tagName;
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

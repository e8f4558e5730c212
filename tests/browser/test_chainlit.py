"""What bots of Chainlit show, on the page of ``chatsessions run`` in Chromium."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chainlit.conftest import served  # noqa: F401  # a fixture
from tests.cli.command import Run

from .chat import Chat

pytestmark = [pytest.mark.server, pytest.mark.browser]


def visit(page: Page, origin: str, slug: str) -> Chat:
    """Open a bot's page, as somebody who was never there."""
    chat = Chat.at(page, f"{origin}/chat/{slug}/")
    chat.is_("Online")
    return chat


def test_steps_elements_tasks_starters_and_settings_are_on_the_page(
    served: Run,  # noqa: F811
    browser: Browser,
) -> None:
    page = browser.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))

    chat = visit(page, served.origin, "steps")
    chat.say("cats")
    expect(chat.contents.last).to_have_text("2 results for cats. The conversation: user, assistant")
    steps = chat.log.locator("[part~=step]")
    expect(steps.filter(has_text="Work")).to_be_visible()
    search = steps.filter(has=page.get_by_text("Search", exact=True))
    search.locator("summary").click()
    expect(search.get_by_text("2 results for cats")).to_be_visible()
    chat.reload()
    expect(steps.filter(has_text="Work")).to_be_visible()

    chat = visit(page, served.origin, "elements")
    picture = chat.log.get_by_role("link", name="pixel.png").locator("img")
    expect(picture).to_be_visible()
    page.wait_for_function("image => image.naturalWidth === 1", arg=picture.element_handle())
    expect(chat.log.get_by_text("a.pdf")).to_be_visible()
    expect(chat.log.get_by_text("Roses are red")).to_be_visible()

    chat = visit(page, served.origin, "task-list")
    chat.say("**work**")
    expect(chat.log.locator("strong", has_text="WORK")).to_be_visible()  # the bot's is Markdown
    expect(chat.log.get_by_text("Read the message")).to_be_visible()

    chat = visit(page, served.origin, "starters")
    chat.press("Spot errors")
    expect(chat.contents.last).to_have_text("You said: How can I avoid mistakes?")

    chat = Chat.at(page, f"{served.origin}/chat/profiles/")
    expect(page.get_by_role("radio", name="Small")).to_be_visible()
    expect(page.get_by_text("A small model.")).to_be_visible()
    chat.press("Start")
    expect(chat.contents.last).to_have_text("Large: b, 1")
    chat.press("Settings")
    dialog = chat.element.get_by_role("dialog", name="Settings")
    dialog.get_by_label("Model").select_option("c")
    dialog.get_by_label("Day").fill("2026-03-04")
    dialog.get_by_label("code").check()
    dialog.get_by_role("button", name="Save").click()
    expect(chat.contents.last).to_have_text("Settings: c, ['web', 'code'], 2026-03-04")
    page.close()
    assert complaints == []

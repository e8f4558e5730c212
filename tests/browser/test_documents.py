"""Files that the browser itself shows: its viewer of PDFs is in Chromium with windows alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.server.harness import Server

from .chat import Chat
from .conftest import Browsers

pytestmark = pytest.mark.browser


@pytest.fixture
def browser(browsers: Browsers) -> Iterator[Browser]:
    with browsers.launched("chromium") as found:
        yield found


def test_files_that_are_shown(open_chat: Callable[..., Chat]) -> None:
    """As far as a browser shows them without running anything of them; the others are links."""
    chat = open_chat(path="/workshop/")
    chat.say("files")
    files = chat.log.locator("[part=files]")
    player = files.locator("audio")
    expect(player).to_be_visible()
    expect(player).to_have_accessible_name("tone.wav")
    chat.page.wait_for_function("player => player.duration === 1", arg=player.element_handle())
    expect(files.locator("pre")).to_have_text("<b>first</b>\nsecond")
    paper = files.locator("[part~=document]")
    expect(paper).to_have_text("paper.pdf187 bytes")
    expect(paper).to_have_attribute("target", "_blank")
    viewer = files.locator("iframe")
    expect(viewer).to_have_accessible_name("paper.pdf")
    expect(viewer).to_have_attribute("src", str(paper.get_attribute("href")))
    expect(files.locator("video")).to_have_count(0)  # it is none
    expect(files.get_by_role("link")).to_have_count(5)
    with chat.page.expect_download() as saved:
        files.get_by_role("link", name="page.html").click()
    assert saved.value.suggested_filename == "page.html"


def test_a_pdf_where_no_frames_are_allowed(server: Server, browser: Browser) -> None:
    """It is a link, as the page's policy wants it, and the browser complains once."""
    page = browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    chat = Chat.at(page, f"{server.origin}/csp/workshop/")
    for times in (1, 2):
        chat.say("files")
        paper = chat.log.locator("[part~=document]")
        expect(paper).to_have_count(times)
        expect(paper.last).to_have_attribute("target", "_blank")
        expect(chat.log.locator("iframe")).to_have_count(0)
    assert len([text for text in complaints if "frame" in text]) == 1
    page.close()

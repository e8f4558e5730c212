"""The bot that is talked to by plain requests, from a page of the demo's own."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.server.harness import Server

pytestmark = pytest.mark.browser

HELLO = "The line is open. What shall I wire?"


@pytest.mark.slow
def test_a_telegraph(server: Server, page: Page) -> None:
    """
    Answers come as they are made; a reload in the middle of one brings the rest of it. The session
    is the browser's until it hangs up.
    """
    page.goto(f"{server.origin}/chat/telegraph/")
    box = page.get_by_label("Your telegram")
    wire = page.get_by_role("button", name="Wire it")
    said = page.locator("#telegrams p")
    expect(said).to_have_count(0)
    expect(wire).to_be_enabled()
    box.fill("arriving <b>on</b> Monday")
    box.press("Enter")
    telegram = "ARRIVING <B>ON</B> MONDAY STOP"
    expect(said).to_have_text(["arriving <b>on</b> Monday", HELLO, telegram])
    expect(wire).to_be_enabled()

    box.fill("one two three four five six seven eight nine ten " * 3)
    box.press("Enter")
    expect(said.last).to_have_text(re.compile("^ONE TWO"))
    page.reload()
    expect(said.last).to_have_text(re.compile(r"^(ONE .* TEN ){3}STOP\s*$"))
    expect(page.locator("#telegrams strong").last).to_have_text("Telegram No. 2")
    expect(said).to_have_count(5)
    for text in ("arriving <b>on</b> Monday", HELLO, telegram):
        expect(said.filter(has_text=re.compile(f"^{re.escape(text)}"))).to_have_count(1)

    page.get_by_role("button", name="Hang up").click()
    expect(said).to_have_count(0)
    page.reload()
    expect(wire).to_be_enabled()
    expect(said).to_have_count(0)
    expect(page.get_by_role("alert")).to_have_text("")

"""``chatsessions run`` in a browser: what stays on the page while the bot is being written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.cli.command import COUNTER, Run
from tests.cli.conftest import counter, run  # noqa: F401  # fixtures

from .chat import GREETING, Chat, counted

pytestmark = [pytest.mark.server, pytest.mark.browser]


@pytest.mark.slow
def test_a_reload_keeps_conversation_count_and_draft_and_shows_a_mistake(
    run: Callable[..., Run],  # noqa: F811
    counter: Path,  # noqa: F811
    browser: Browser,
) -> None:
    context = browser.new_context()
    served = run("counter_bot.py", "-w")
    tab = context.new_page()
    chat = Chat.at(tab, f"{served.origin}/")
    chat.is_("Online")
    chat.say("one")
    chat.shows(GREETING, "one", counted(1))
    chat.input.fill("not sent yet")
    (counter / "counter_bot.py").write_text(COUNTER.replace("You have sent", "Now it is"))
    served.until(lambda: served.terminal().count("Reloading") == 1, "nothing was noticed")
    chat.is_("Online")
    expect(chat.input).to_have_value("not sent yet")
    chat.input.press("Enter")
    chat.shows(GREETING, "one", counted(1), "not sent yet", "Now it is 2 message(s)!")
    # A mistake: the open tab keeps what it shows, a new one says what is wrong.
    (counter / "counter_bot.py").write_text("import chatsessions as cl\n\ncl.on_message(\n")
    served.until(lambda: "SyntaxError" in served.terminal(), "it is not said")
    other = context.new_page()
    served.until(lambda: served.get("/")[0] == 503, "the page does not say it")
    other.goto(f"{served.origin}/")
    expect(other.get_by_text("SyntaxError")).to_be_visible()
    expect(chat.contents).to_have_count(5)
    (counter / "counter_bot.py").write_text(COUNTER)
    # The page of the mistake becomes the chat by itself, and the open tab goes on.
    expect(other.locator("chat-session")).to_be_visible()
    chat.is_("Online")
    chat.say("three")
    expect(chat.contents.last).to_have_text(counted(3))
    context.close()

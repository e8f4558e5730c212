"""``chatsessions run`` in a browser: what stays on the page while the bot is being written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.chat import PATIENCE, Chat
from tests.browser.conftest import browser  # noqa: F401  # a fixture

from .command import COUNTER, Run

pytestmark = [pytest.mark.server, pytest.mark.browser]


def test_the_chat_keeps_away_from_the_edges_of_a_wide_window(
    served: Run,
    browser: Browser,  # noqa: F811
) -> None:
    tab = browser.new_page(viewport={"width": 1100, "height": 700})
    tab.goto(f"{served.origin}/")
    box = tab.locator("chat-session").bounding_box()
    assert box is not None
    assert box["y"] == 700 - box["y"] - box["height"] == 20
    tab.close()


@pytest.mark.slow
def test_a_reload_keeps_conversation_count_and_draft_and_shows_a_mistake(
    run: Callable[..., Run],
    counter: Path,
    browser: Browser,  # noqa: F811
) -> None:
    context = browser.new_context()
    served = run("counter_bot.py", "-w")
    tab = context.new_page()
    tab.goto(f"{served.origin}/")
    chat = Chat(tab)
    chat.is_("Online")
    chat.say("one")
    greeting = "Hi! I'll count how many messages you send."
    chat.shows(greeting, "one", "You have sent 1 message(s)!")
    chat.input.fill("not sent yet")
    (counter / "counter_bot.py").write_text(COUNTER.replace("You have sent", "Now it is"))
    served.until(lambda: served.terminal().count("Reloading") == 1, "nothing was noticed")
    chat.is_("Online")
    expect(chat.input).to_have_value("not sent yet")
    chat.input.press("Enter")
    chat.shows(
        greeting, "one", "You have sent 1 message(s)!", "not sent yet", "Now it is 2 message(s)!"
    )
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
    expect(other.locator("chat-session")).to_be_visible(timeout=PATIENCE * 1000)
    chat.is_("Online")
    chat.say("three")
    expect(chat.contents.last).to_have_text("You have sent 3 message(s)!", timeout=PATIENCE * 1000)
    context.close()

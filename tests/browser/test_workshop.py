"""Steps, starters, settings behind tabs, and files that are shown."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.server.harness import Server

from .chat import Chat

pytestmark = pytest.mark.browser

PATH = "/workshop/"


def steps(chat: Chat) -> Locator:
    return chat.log.locator("details")


def states(chat: Chat) -> list[tuple[str | None, str | None]]:
    """Names and states of the steps."""
    return [
        (
            one.locator("[part=step-name]").text_content(),
            one.locator("[part=step-state]").text_content(),
        )
        for one in steps(chat).all()
    ]


THOUGHT = [("Think", "Done"), ("Read <b>it</b>", "Done"), ("Ask", "Failed")]


def test_starters_and_steps(open_chat: Callable[..., Chat]) -> None:
    """
    Starters stand in an empty conversation. Steps unfold by the keyboard, and are there after a
    reload.
    """
    chat = open_chat(path=PATH)
    begin = chat.element.get_by_role("group", name="Begin with one of these")
    expect(begin.get_by_role("button")).to_have_text(["Think it over", "Show me"])
    chat.reload()
    begin.get_by_role("button", name="Think it over").press("Enter")
    expect(chat.contents.last).to_have_text("Thought.")
    expect(chat.input).to_be_focused()
    for again in (False, True):
        if again:
            chat.reload()
        chat.shows("think", "Thought.")
        expect(begin).to_be_hidden()
        assert states(chat) == THOUGHT
        first = steps(chat).first
        expect(first.get_by_text("about")).to_be_hidden()
        first.locator("summary").focus()
        chat.page.keyboard.press("Enter")
        expect(first.locator("pre").first).to_have_text('{\n  "about": "rain"\n}')
        expect(first.locator("pre").last).to_have_text("thought")
        chat.page.keyboard.press("Tab")
        expect(steps(chat).nth(1).locator("summary")).to_be_focused()
        chat.page.keyboard.press("Enter")
        expect(steps(chat).nth(1).locator("pre").last).to_have_text("one two three")
        steps(chat).last.locator("summary").click()
        expect(steps(chat).last.locator("[part=step-error]")).to_have_text("This step has failed.")
    # The second is part of the first, and stands below it.
    inside = chat.log.locator("[part=steps] details")
    expect(inside.filter(visible=True)).to_have_count(1)


def test_a_step_that_is_stopped(open_chat: Callable[..., Chat]) -> None:
    """It stays unfolded while it changes, goes on after a reload, and says how it has ended."""
    chat = open_chat(path=PATH)
    chat.say("brood")
    mutter = steps(chat).last
    expect(mutter.locator("[part=step-name]")).to_have_text("Mutter")
    chat.reload()
    expect(mutter.locator("[part=step-state]")).to_have_text("Running…")
    mutter.locator("summary").click()
    expect(mutter.locator("pre").last).to_have_text("so far")
    chat.stop.click()
    expect(mutter.locator("[part=step-error]")).to_have_text("This step was not finished.")
    expect(mutter.locator("pre").last).to_be_visible()
    assert states(chat) == [("Brood", "Failed"), ("Mutter", "Failed")]


def test_settings_behind_tabs(open_chat: Callable[..., Chat]) -> None:
    chat = open_chat(path=PATH)
    chat.press("Settings")
    within = chat.element.get_by_role("dialog", name="Settings")
    expect(within.get_by_label("Day")).to_be_focused()
    within.get_by_label("Day").fill("2026-05-01")
    stay = within.get_by_role("group", name="Stay")
    stay.get_by_label("From").fill("2026-05-03")
    save = within.get_by_role("button", name="Save")
    save.click()
    expect(within.get_by_text("Both dates are needed.")).to_be_visible()
    expect(stay.get_by_label("From")).to_be_focused()
    stay.get_by_label("To").fill("2026-05-02")
    budget = within.get_by_role("spinbutton", name="Budget")
    expect(budget).to_have_accessible_description("In euros.")
    budget.fill("12.5")
    within.get_by_role("tab", name="Trip").focus()
    chat.page.keyboard.press("ArrowRight")
    expect(within.get_by_role("tab", name="Taste")).to_be_focused()
    expect(budget).to_be_hidden()
    within.get_by_role("checkbox", name="I am sure").check()
    size = within.get_by_role("radiogroup", name="Size")
    size.get_by_role("radio", name="large").check()
    within.get_by_role("group", name="Food").get_by_role("checkbox", name="bread").check()
    expect(within.get_by_role("textbox", name="Fixed")).to_be_disabled()
    save.click()
    # The server does not take a stay that ends before it begins: its tab is shown again.
    expect(within.get_by_text("a first and a last day")).to_be_visible()
    stay.get_by_label("To").fill("2026-05-04")
    save.click()
    expect(within).to_be_hidden()
    chat.reload()
    chat.press("Settings")
    expect(within.get_by_label("Day")).to_have_value("2026-05-01")
    expect(stay.get_by_label("To")).to_have_value("2026-05-04")
    expect(budget).to_have_value("12.5")
    within.get_by_role("tab", name="Taste").click()
    expect(size.get_by_role("radio", name="large")).to_be_checked()
    expect(within.get_by_role("checkbox", name="bread")).to_be_checked()
    expect(within.get_by_role("textbox", name="Fixed")).to_have_value("so")
    within.get_by_role("button", name="Close").click()
    for name, value in (
        ("budget", "12.5"),
        ("stay", "['2026-05-03', '2026-05-04']"),
        ("food", "['fish', 'bread']"),
        ("fixed", "so"),
    ):
        chat.say(name)
        expect(chat.contents.last).to_have_text(value)


def test_what_is_seen_of_a_long_turn_that_says_nothing(server: Server, page: Page) -> None:
    """Something moves, a bar says how far it is, and after a while how long it has taken."""
    page.clock.install()
    chat = Chat.at(page, server.origin + PATH)
    chat.say("haul")
    bar = chat.element.get_by_role("progressbar", name="Hauling")
    expect(bar).to_have_js_property("value", 3)
    expect(bar).to_have_js_property("max", 4)
    dots = chat.element.locator("[part=dots] i")
    assert dots.evaluate_all("all => all.every((dot) => dot.getAnimations().length)")
    elapsed = chat.element.locator("[part=elapsed]")
    expect(elapsed).to_be_empty()
    page.clock.run_for(7_000)
    expect(elapsed).to_have_text(re.compile(r"^([5-9]|1\d) s$"))

    page.reload()
    expect(bar).to_have_js_property("value", 3)
    chat.stop.click()
    expect(bar).to_be_hidden()
    expect(chat.element.locator("[part=working]")).to_be_hidden()
    expect(elapsed).to_be_empty()

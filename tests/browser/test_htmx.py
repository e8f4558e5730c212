"""The recipe of a chat beside a page that HTMX changes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from playwright.sync_api import Page, expect

from tests import services
from tests.server.harness import Server, running

from .chat import Chat

RECIPES = Path(__file__).resolve().parents[2] / "docs" / "recipes"

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def shop() -> Iterator[Server]:
    services.need_package("django_htmx")
    templates = copy.deepcopy(settings.TEMPLATES)
    templates[0]["DIRS"] = [str(RECIPES)]
    options = {
        "ROOT_URLCONF": "htmx_views",
        "INSTALLED_APPS": [*settings.INSTALLED_APPS, "django_htmx"],
        "TEMPLATES": templates,
        "ALLOWED_HOSTS": ["127.0.0.1"],
    }
    with running(application="tests.browser.shop:application", settings=options) as server:
        yield server


def test_the_chat_fills_the_basket_and_the_page_empties_it(shop: Server, page: Page) -> None:
    chat = Chat.at(page, shop.origin)
    items = page.locator("#basket li")
    expect(items).to_have_text(["Nothing yet."])
    for thing in ("Tea", "Soap"):
        chat.say(thing)
        expect(items.filter(has_text=thing)).to_be_visible()
    items.filter(has_text="Tea").get_by_role("button", name="Remove").click()
    expect(items).to_have_count(1)
    expect(items).to_contain_text("Soap")
    expect(chat.contents.last).to_have_text("Tea is out of your basket again.")
    chat.reload()
    expect(items).to_have_count(1)
    expect(chat.contents.last).to_have_text("Tea is out of your basket again.")
    assert page.request.get(f"{shop.origin}/basket/forged/").status == 404

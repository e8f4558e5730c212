"""A new project whose owner has not run ``migrate``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.server.harness import Server

from .chat import GREETING, Chat
from .conftest import APPLICATION, SETTINGS

pytestmark = pytest.mark.browser


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    (tmp_path / "demo.sqlite3").touch()
    found = Server(tmp_path, application=APPLICATION, settings={**SETTINGS, "DEBUG": True})
    with found.started():
        yield found


@pytest.mark.slow
def test_the_page_and_the_log_say_what_to_do(server: Server, context: BrowserContext) -> None:
    """When it is done the page comes back by itself. The log has one line for each attempt."""
    page = context.new_page()
    chat = Chat.at(page, f"{server.origin}/chat/counter/")
    expect(chat.banner).to_contain_text("run `python manage.py migrate`.")
    expect(chat.element.get_by_role("alert")).to_have_count(0)
    file = context.request.get(f"{server.origin}/chats/{uuid4()}/files/{uuid4()}/")
    assert (file.status, file.json()["error"]) == (503, "not_migrated")
    server.manage("migrate", "--verbosity=0")
    chat.shows(GREETING)
    expect(chat.banner).to_be_hidden()
    said = server.log()
    assert "Traceback" not in said
    lines = re.findall(r"ERROR chatsessions.*", said)
    assert lines
    assert {"run `python manage.py migrate`." in line for line in lines} == {True}

"""A site below a path, by each of the ways that docs/deployment.md names."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import FilePayload, Page, expect

from tests.deployment.nginx import Nginx
from tests.server.harness import Kind, Server

from .chat import Chat
from .conftest import APPLICATION, SETTINGS

pytestmark = pytest.mark.browser

NOTES = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"plain text\n")


@dataclass(frozen=True)
class Way:
    """How a server is told of the prefix, and whether nginx leaves it in the path."""

    kind: Kind
    by_setting: bool
    prefix_stays: bool = False

    def server(self, folder: Path, static: Path) -> Server:
        settings = {"STATIC_URL": "/app/static/", "STATIC_ROOT": str(static)}
        if self.by_setting:
            settings["FORCE_SCRIPT_NAME"] = "/app"
        return Server(
            folder,
            kind=self.kind,
            application=APPLICATION,
            settings=SETTINGS | settings,
            arguments=() if self.by_setting else ("--root-path", "/app"),
        )


WAYS = {
    "daphne, FORCE_SCRIPT_NAME": Way("daphne", by_setting=True),
    "uvicorn, FORCE_SCRIPT_NAME": Way("uvicorn", by_setting=True),
    "daphne --root-path": Way("daphne", by_setting=False, prefix_stays=True),
    "uvicorn --root-path": Way("uvicorn", by_setting=False),
}


@pytest.mark.parametrize(
    "way",
    [
        pytest.param(way, id=name, marks=[] if name == "uvicorn --root-path" else pytest.mark.slow)
        for name, way in WAYS.items()
    ],
)
def test_behind_nginx_with_a_prefix_the_page_talks_and_brings_files(
    way: Way, tmp_path: Path, page: Page
) -> None:
    """The websocket's address has the prefix, as that of files has: else it is offline for ever."""
    static = tmp_path / "static"
    server = way.server(tmp_path / "server", static)
    with ExitStack() as stack:
        server.manage("collectstatic", "--noinput", "--verbosity=0", "--ignore=admin")
        stack.enter_context(server.started())
        nginx = Nginx(
            tmp_path / "nginx",
            [server.port, server.port],
            static=static,
            below_a_path=True,
            prefix_stays=way.prefix_stays,
        )
        stack.enter_context(nginx.running())
        chat = Chat.at(page, f"http://127.0.0.1:{nginx.port}/app/chat/shelf/")
        chat.is_("Online")
        chat.attach(NOTES)
        expect(chat.element.get_by_role("progressbar")).to_have_count(0)
        chat.say("a file")
        expect(chat.contents.last).to_have_text("notes.txt: text/plain, 11 bytes")
        with page.expect_download() as download:
            chat.log.get_by_role("link").last.click()
        assert download.value.path().read_bytes() == NOTES["buffer"]
        expect(chat.element.get_by_role("button", name="Export conversation")).to_have_count(0)
        chat.element.evaluate("element => element.setAttribute('export', '')")
        assert "notes.txt" in chat.export("Markdown").path().read_text()
        page.close()

"""A widget on a page of another site: one script tag, two servers, and no cookie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests import services
from tests.server.harness import Server, running
from tests.server.npm import SOURCES, install_client, run

from .chat import GREETING, Chat, counted
from .conftest import APPLICATION, CHANCE, CHATSESSIONS, SETTINGS
from .static_files import serving
from .widget import Widget

pytestmark = pytest.mark.browser

PAGE = """<!doctype html><html lang="en"><title>Shop</title><h1>Shop</h1>
<script type="module" src="{server}/static/chatsessions/widget.js"
  data-src="{websocket}/ws/{bot}/" data-api="{server}/chats/" data-heading="Help" {more}></script>
</html>"""


#: A front end of the shop's own, which is built.
VITE_PAGE = """<!doctype html><html lang="en"><title>Shop</title>
<ul></ul><button>Count</button><script type="module" src="/main.ts"></script></html>"""
VITE_SCRIPT = """
import { ChatClient, type StateDetail } from "chatsessions-client";

const client = new ChatClient(import.meta.env.VITE_CHAT);
client.addEventListener("event", (event) => {
  const { name, data } = (event as CustomEvent).detail;
  const item = document.createElement("li");
  item.textContent = data.content;
  if (name === "message") document.querySelector("ul")!.append(item);
});
client.addEventListener("state", (event) => {
  const { state }: StateDetail = (event as CustomEvent).detail;
  document.title = state;
});
document.querySelector("button")!.addEventListener("click", () => client.sendMessage("hello"));
client.connect();
"""


@dataclass
class Shop:
    """A site that serves its pages as files, and knows nothing of Django."""

    folder: Path
    port: int

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"  # not the site that 127.0.0.1 is

    def page(self, server: Server, bot: str, more: str = "") -> str:
        websocket = server.origin.replace("http", "ws")
        text = PAGE.format(server=server.origin, websocket=websocket, bot=bot, more=more)
        (self.folder / f"{bot}.html").write_text(text)
        return f"{self.origin}/{bot}.html"


@pytest.fixture(scope="module")
def open_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Shop]]:
    with ExitStack() as stack:

        def open_shop() -> Shop:
            folder = tmp_path_factory.mktemp("shop")
            return Shop(folder, stack.enter_context(serving(folder)))

        yield open_shop


@pytest.fixture(scope="module")
def shop(open_shop: Callable[[], Shop]) -> Shop:
    return open_shop()


@pytest.fixture(scope="module")
def support(shop: Shop) -> Iterator[Server]:
    """The demo, on a host of its own, with a chat for the shop."""
    with running(
        application=APPLICATION,
        settings=SETTINGS | {"ALLOWED_HOSTS": ["127.0.0.1"]},
        chatsessions=CHATSESSIONS | {"ALLOWED_ORIGINS": [shop.origin]},
    ) as server:
        yield server


def test_a_conversation_with_files_on_an_allowed_page(
    shop: Shop, support: Server, context: BrowserContext, page: Page
) -> None:
    """
    It is there after a reload, by the token in that page's storage; there is no cookie. So are
    profiles.
    """
    page.goto(shop.page(support, "shelf", "data-files"))
    widget = Widget(page)
    widget.open()
    note = {"name": "grüße.txt", "mimeType": "text/plain", "buffer": b"hello"}
    widget.chat.attach(note)
    expect(widget.chat.element.locator("[part=attachment]")).to_contain_text("grüße.txt")
    expect(widget.chat.element.locator("[part=attachment] progress")).to_have_count(0)
    widget.chat.input.press("Enter")
    expect(widget.chat.contents.last).to_contain_text("5 bytes")
    shown = widget.chat.texts()

    page.reload()
    expect(widget.panel).to_be_visible()
    expect(widget.chat.contents).to_have_text(shown)
    with page.expect_download() as download:
        widget.chat.element.get_by_role("link", name="grüße.txt").first.click()
    assert download.value.path().read_bytes() == b"hello"
    assert context.cookies() == []
    stored = page.evaluate("Object.entries(sessionStorage)")
    assert any("token" in value for _, value in stored)

    widget = Widget(context.new_page())
    widget.page.goto(shop.page(support, "guide", 'data-profiles data-chat="guide"'))
    widget.button.click()
    widget.chat.press("Start")
    widget.chat.is_("Online")


@pytest.mark.slow
def test_a_front_end_that_is_built_with_vite(
    shop: Shop, support: Server, page: Page, tmp_path: Path
) -> None:
    """It has the client from its npm package."""
    vite = SOURCES / "node_modules" / "vite" / "bin" / "vite.js"
    if not vite.exists():
        services.lack("vite is not installed: npm ci --prefix frontend")
    project = install_client(tmp_path)
    (project / "index.html").write_text(VITE_PAGE)
    (project / "main.ts").write_text(VITE_SCRIPT)
    chat = f"{support.origin.replace('http', 'ws')}/ws/counter/"
    (project / ".env").write_text(f"VITE_CHAT={chat}")
    options = ("--outDir", str(shop.folder / "built"), "--base", "/built/")
    run("node", str(vite), "build", *options, cwd=project)
    page.goto(f"{shop.origin}/built/")
    expect(page).to_have_title("online")
    page.get_by_role("button", name="Count").click()
    said = [GREETING, "hello", counted(1)]
    expect(page.get_by_role("listitem")).to_have_text(said)
    page.reload()
    expect(page.get_by_role("listitem")).to_have_text(said)


def test_a_page_that_is_not_allowed(
    open_shop: Callable[[], Shop], support: Server, browser: Browser
) -> None:
    """It is refused by websocket and by HTTP; console and log name what to write where."""
    other = open_shop()
    with browser.new_context() as context:
        context.add_init_script(CHANCE)
        page = context.new_page()
        page.goto(other.page(support, "echo"))
        with page.expect_console_message(lambda said: "ALLOWED_ORIGINS" in said.text) as said:
            page.get_by_role("button", name="Help").click()
        assert f"{other.origin} not in CHATSESSIONS" in said.value.text
        expect(Chat(page).banner).to_contain_text("Cannot connect.")
        asked = page.evaluate(
            """(url) => fetch(url, { headers: { Authorization: "Bearer x" } }).then(
              () => "answered", (error) => error.name)""",
            f"{support.origin}/chats/profiles/?chat=guide",
        )
        assert asked == "TypeError"
    log = support.log()
    assert f"A websocket was refused (403): its page's address is '{other.origin}'" in log
    assert f"A page of '{other.origin}' may not ask for '/chats/profiles/' (403)" in log

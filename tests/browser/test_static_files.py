"""The element from every kind of storage that a project may keep its static files in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from playwright.sync_api import Page, expect

from tests.server.harness import Server

from .chat import GREETING, Chat, counted
from .conftest import APPLICATION, SETTINGS
from .static_files import Bucket, serving

pytestmark = pytest.mark.browser

DJANGO = "django.contrib.staticfiles.storage"
BACKENDS = {
    "collected": f"{DJANGO}.StaticFilesStorage",
    "manifest": f"{DJANGO}.ManifestStaticFilesStorage",
    "hashed only": "whitenoise.storage.CompressedManifestStaticFilesStorage",
    "bucket": "tests.browser.static_files.SignedManifestStorage",
}


# What is collected as it is, the demo serves in all other tests; a bucket's names are a manifest's.
@pytest.fixture(
    params=[
        pytest.param(name, marks=() if name in ("hashed only", "bucket") else pytest.mark.slow)
        for name in BACKENDS
    ]
)
def collected(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """The demo, after ``collectstatic`` into such a storage."""
    root = tmp_path / "static"
    root.mkdir()
    with ExitStack() as stack:
        storage: dict[str, Any] = {"BACKEND": BACKENDS[request.param]}
        if request.param == "bucket":
            port = stack.enter_context(serving(root, Bucket))
            storage["OPTIONS"] = {"base_url": f"http://127.0.0.1:{port}/"}
        server = Server(
            tmp_path / "server",
            application=APPLICATION,
            settings=SETTINGS
            | {
                "STATIC_ROOT": str(root),
                "WHITENOISE_USE_FINDERS": False,
                "WHITENOISE_KEEP_ONLY_HASHED_FILES": request.param == "hashed only",
                "STORAGES": {
                    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
                    "staticfiles": storage,
                },
            },
        )
        server.manage("collectstatic", "--noinput", "--verbosity=0", "--ignore=admin")
        if request.param == "hashed only":
            plain = list(root.rglob("chat-session.js"))
            assert plain == [], "the storage keeps plain names as well"
        yield stack.enter_context(server.started())


def test_every_file_has_an_address_in_every_storage(collected: Server, page: Page) -> None:
    """Under strict policies, with trusted types: nothing is fetched by a plain name."""
    chat = Chat(page)
    page.goto(f"{collected.origin}/csp/nonce/")
    chat.say("hello")
    chat.shows("hello", "hello", "hello")
    part = chat.element.locator("[part=chat]")
    assert part.evaluate("part => getComputedStyle(part).display") == "flex"
    assert chat.element.evaluate("element => getComputedStyle(element).borderRadius") == "14px"
    has_source_map(page)

    # The widget finds the element.
    page.goto(f"{collected.origin}/widget/")
    page.get_by_role("button", name="Help").click()
    chat.say("widget")
    expect(chat.contents.filter(has_text="widget")).to_have_count(3)

    # The element finds what is loaded later: Markdown, colours, and panels with their style.
    page.goto(f"{collected.origin}/writer/")
    chat.say("*one*\n\n```js\nlet one = 1;\n```")
    expect(chat.log.locator("[data-format=markdown] em")).to_have_text("one")
    expect(chat.log.locator("[data-format=markdown] [data-token=keyword]")).to_have_text("let")
    page.goto(f"{collected.origin}/csp/workshop/")
    chat.press("Settings")
    dialog = chat.element.get_by_role("dialog", name="Settings")
    expect(dialog.get_by_label("Day")).to_be_focused()
    assert dialog.evaluate("dialog => getComputedStyle(dialog).display") == "flex"

    # All share one set of texts, to which a page may assign; the client works without the element.
    page.goto(f"{collected.origin}/german/")
    chat.is_("Verbunden")
    expect(chat.element.get_by_role("button", name="Senden")).to_be_visible()
    page.wait_for_function("said.length === 1")
    page.evaluate("client.sendMessage('hello')")
    page.wait_for_function("said.length === 3")
    assert page.evaluate("said") == [GREETING, "hello", counted(1)]


def has_source_map(page: Page) -> None:
    """As developer tools look for it: beside the file, by the name that the storage gave it."""
    script = page.locator("script[type=module][src]").get_attribute("src")
    assert script
    address = urljoin(page.url, script)
    [name] = re.findall(
        r"^//# sourceMappingURL=(.+)$", page.request.get(address).text(), re.MULTILINE
    )
    answer = page.request.get(urljoin(address, name))
    if "Signature=" in script:  # the name in the file has none: developer tools do without
        assert answer.status == 403
        return
    found = answer.json()
    contents = dict(zip(found["sources"], found["sourcesContent"], strict=True))
    [client] = [path for path in contents if path.endswith("frontend/client/client.ts")]
    assert "export class ChatClient extends EventTarget" in contents[client]

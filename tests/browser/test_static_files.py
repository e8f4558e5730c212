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

from .chat import Chat
from .conftest import APPLICATION, SETTINGS
from .static_files import bucket

pytestmark = pytest.mark.browser

DJANGO = "django.contrib.staticfiles.storage"
BACKENDS = {
    "collected": f"{DJANGO}.StaticFilesStorage",
    "manifest": f"{DJANGO}.ManifestStaticFilesStorage",
    "hashed only": "whitenoise.storage.CompressedManifestStaticFilesStorage",
    "bucket": "tests.browser.static_files.SignedManifestStorage",
}


# What is collected as it is, the demo serves in all other tests.
@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.slow if name == "collected" else ())
        for name in BACKENDS
    ],
)
def collected(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The demo, after ``collectstatic`` into such a storage."""
    folder = tmp_path_factory.mktemp("collected")
    root = folder / "static"
    root.mkdir()
    with ExitStack() as stack:
        storage: dict[str, Any] = {"BACKEND": BACKENDS[request.param]}
        if request.param == "bucket":
            storage["OPTIONS"] = {"base_url": stack.enter_context(bucket(root))}
        server = Server(
            folder / "server",
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
        stack.callback(server.discard)
        (folder / "server").mkdir()
        server.manage("collectstatic", "--noinput", "--verbosity=0", "--ignore=admin")
        if request.param == "hashed only":
            assert not named(root, "chat-session.js"), "the storage keeps plain names as well"
        yield server.start()


def named(root: Path, name: str) -> list[Path]:
    return list(root.rglob(name))


def test_the_element_comes_alive_with_its_style_under_a_strict_policy(
    collected: Server, page: Page
) -> None:
    """One file is all it needs: nothing is imported, and no stylesheet fetched, by a plain name."""
    page.goto(f"{collected.origin}/csp/nonce/")
    chat = Chat(page)
    chat.say("hello")
    chat.shows("hello", "hello", "hello")
    part = chat.element.locator("[part=chat]")
    assert part.evaluate("part => getComputedStyle(part).display") == "flex"
    assert chat.element.evaluate("element => getComputedStyle(element).borderRadius") == "14px"


def test_a_widget_finds_the_element(collected: Server, page: Page) -> None:
    """By the name that the storage gave it, under a strict policy with trusted types."""
    page.goto(f"{collected.origin}/widget/")
    page.get_by_role("button", name="Help").click()
    chat = Chat(page)
    chat.say("hello")
    chat.shows("hello", "hello", "hello")


def test_what_is_loaded_later_has_an_address_in_every_storage(
    collected: Server, page: Page
) -> None:
    page.goto(f"{collected.origin}/writer/")
    chat = Chat(page)
    chat.say("*one*\n\n```js\nlet one = 1;\n```")
    expect(chat.log.locator("[data-format=markdown] em")).to_have_text("one")
    expect(chat.log.locator("[data-format=markdown] [data-token=keyword]")).to_have_text("let")


def test_panels_have_an_address_in_every_storage(collected: Server, page: Page) -> None:
    """Under a strict policy with trusted types, and with their style."""
    page.goto(f"{collected.origin}/csp/workshop/")
    chat = Chat(page)
    chat.press("Settings")
    dialog = chat.element.get_by_role("dialog", name="Settings")
    expect(dialog.get_by_label("Day")).to_be_focused()
    assert dialog.evaluate("dialog => getComputedStyle(dialog).display") == "flex"


def test_what_a_page_assigns_to_the_texts_is_said_and_the_client_works_without_the_element(
    collected: Server, page: Page
) -> None:
    """Each file has a name of its own, and all share one set of texts."""
    page.goto(f"{collected.origin}/german/")
    chat = Chat(page)
    chat.is_("Verbunden")
    expect(chat.element.get_by_role("button", name="Senden")).to_be_visible()
    page.wait_for_function("said.length === 1")
    page.evaluate("client.sendMessage('hello')")
    page.wait_for_function("said.length === 3")
    assert page.evaluate("said") == [
        "Hi! I'll count how many messages you send.",
        "hello",
        "You have sent 1 message(s)!",
    ]


def test_a_built_file_names_its_source_map_and_the_map_has_the_sources(
    collected: Server, page: Page
) -> None:
    """As developer tools look for it: beside the file, by the name that the storage gave it."""
    page.goto(f"{collected.origin}/csp/nonce/")
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

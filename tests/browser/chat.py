"""A chat on a page, in the words of the person who uses it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from typing import Any, Self, TypeVar

from playwright.sync_api import Download, FilePayload, Locator, Page, WebSocketRoute, expect

from tests.server.harness import Database, Row

#: Seconds for what a page shows by itself, also after the longest of its first retries.
PATIENCE = 90.0

#: What the demo's counter says.
GREETING = "Hi! I'll count how many messages you send."

T = TypeVar("T")


def counted(n: int) -> str:
    return f"You have sent {n} message(s)!"


class Chat:
    """One ``<chat-session>``; the only one of its page unless ``within`` says which."""

    def __init__(self, page: Page, within: Locator | None = None) -> None:
        self.page = page
        self.element = within or page.locator("chat-session")
        self.log = self.element.get_by_role("log")
        self.input = self.element.get_by_role("textbox", name="Message")
        self.send = self.element.get_by_role("button", name="Send")
        self.stop = self.element.get_by_role("button", name="Stop")
        self.status = self.element.locator("[part=status]")
        self.banner = self.element.locator("[part=banner]")
        self.notes = self.log.locator("[part=note]")
        self.messages = self.log.get_by_role("article")
        self.contents = self.messages.locator("[part=content]")
        self.waiting = self.log.locator("[part~=waiting]")
        self.streaming = self.log.locator("[part~=streaming]")

    @classmethod
    def at(cls, page: Page, url: str) -> Self:
        """Open a page that has one."""
        page.goto(url)
        return cls(page)

    # What a person does

    def say(self, text: str) -> None:
        """Write and press Enter; where one touches the screen, the button."""
        self.input.fill(text)
        if self.page.evaluate("matchMedia('(pointer: coarse)').matches"):
            self.send.click()
        else:
            self.input.press("Enter")

    def press(self, name: str) -> None:
        self.element.get_by_role("button", name=name).click()

    def reload(self) -> None:
        self.page.reload()

    def attach(self, *files: FilePayload, button: str = "Attach files") -> None:
        with self.page.expect_file_chooser() as chooser:
            self.press(button)
        chooser.value.set_files(files)

    def export(self, kind: str) -> Download:
        """The file that the page saves."""
        self.press("Export conversation")
        dialog = self.element.get_by_role("dialog", name="Export conversation")
        with self.page.expect_download() as download:
            dialog.get_by_role("button", name=kind).click()
        expect(dialog).to_be_hidden()
        return download.value

    def answer(self, text: str) -> None:
        """Answer a question, where one would write a message else."""
        box = self.element.get_by_role("textbox", name="Your answer")
        box.fill(text)
        box.press("Enter")

    def end(self) -> None:
        self.press("End chat")
        self.press("End it now")
        self.is_("Ended")

    def leave(self, database: Database) -> None:
        """Go to another page, and wait until no worker holds the session."""
        session = self.session
        self.page.goto("about:blank")
        deadline = time.monotonic() + PATIENCE
        while database.session(session)["worker_id"] is not None:
            assert time.monotonic() < deadline, "the session is still held"
            self.page.wait_for_timeout(20)

    # What a person sees

    def shows(self, *texts: str) -> None:
        """These are the messages, all of them, in this order, and none is waiting."""
        expect(self.contents).to_have_text(texts)
        expect(self.waiting).to_have_count(0)

    def is_(self, status: str) -> None:
        """Wait until the line above the conversation says so."""
        expect(self.status).to_have_text(status)

    def has_story(self, words: int) -> str:
        """Wait until so many words of a streaming message are there; the text so far."""
        content = self.streaming.locator("[part=content]")
        self.page.wait_for_function(
            "([element, words]) => element.textContent.split(' ').length > words",
            arg=[content.element_handle(), words],
        )
        return content.text_content() or ""

    def texts(self) -> list[str]:
        """The messages to the letter."""
        return [
            text or "" for text in self.contents.evaluate_all("all => all.map(e => e.textContent)")
        ]

    # What lies beneath

    @property
    def session(self) -> str:
        session: str = self.element.evaluate("element => element.client.session")
        return session

    def shows_what_is_stored(self, database: Database) -> None:
        """Nothing is on the page twice, nothing is missing, to the letter."""
        stored = conversation(database.log(self.session))
        self.shows(*stored)  # a page that has just come shows "Online" before the log
        assert self.texts() == stored


def scripts(page: Page) -> list[str]:
    """The names of the scripts that a page has loaded."""
    names: list[str] = page.evaluate(
        "performance.getEntriesByType('resource').map(({ name }) => name.split('/').at(-1))"
    )
    return [name for name in names if name.endswith(".js")]


def next_of(held: list[T], page: Page) -> T:
    """Wait for something that a test holds back, such as a request."""
    deadline = time.monotonic() + PATIENCE
    while not held:
        assert time.monotonic() < deadline, "nothing has come"
        page.wait_for_timeout(20)
    return held.pop(0)


class Line:
    """The websockets of a page that is still to be opened, on a line that can be cut."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._whole = True
        self._ends: list[WebSocketRoute] = []
        page.route_web_socket("**/ws/**", self._open)

    def _open(self, end: WebSocketRoute) -> None:
        if self._whole:
            self._ends += [end, end.connect_to_server()]
        else:
            end.close(code=4000)

    def cut(self) -> None:
        """Wait until the page has tried a few times in vain and rests before the next."""
        self.page.evaluate("window.chance = 0")
        self._whole = False
        while self._ends:
            self._ends.pop().close(code=4000)
        resting = self.page.get_by_text(re.compile(r"Next try in \d\d+\ss\."))
        self.page.get_by_role("button", name="Try now").wait_for()
        self.page.evaluate("window.chance = 20")
        resting.wait_for()

    def restore(self) -> None:
        """The next page that is loaded has a line."""
        self._whole = True

    def mend(self) -> None:
        """What it takes for the page to come back, too."""
        self._whole = True
        self.page.get_by_role("button", name="Try now").click()


def conversation(log: Iterable[Row]) -> list[str]:
    """The messages that a stored log amounts to."""
    texts: dict[Any, str] = {}
    for row in log:
        if row.name in ("message", "message_update"):
            texts[row.seq if row.n else row.data["id"]] = row.data["content"]
        elif row.name == "error":
            texts[row.seq] = row.data["detail"]
    return list(texts.values())


def duplicate(page: Page) -> Page:
    """What a browser's "Duplicate tab" makes: a second page with a copy of the tab's storage."""
    stored = page.evaluate("Object.entries(sessionStorage)")
    copy = page.context.new_page()
    copy.add_init_script(
        f"if (!sessionStorage.length)"
        f" for (const [name, value] of {json.dumps(stored)}) sessionStorage.setItem(name, value)"
    )
    copy.goto(page.url)
    return copy

"""Addresses in plain text are links, to where they say, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from .chat import Chat

pytestmark = pytest.mark.browser

#: By the text: its links, as they are written and where they lead if that is not the same.
TEXTS: dict[str, list[str | tuple[str, str]]] = {
    "See https://a.example/b.html, and http://c.example.": [
        "https://a.example/b.html",
        ("http://c.example", "http://c.example/"),
    ],
    "(https://a.example/b_(c)) [http://d.example/?e[]=1] «http://f.example/»": [
        "https://a.example/b_(c)",
        "http://d.example/?e[]=1",
        "http://f.example/",
    ],
    "**https://a.example/?b=c&d=e#f** … 'http://g.example/h'!?": [
        "https://a.example/?b=c&d=e#f",
        "http://g.example/h",
    ],
    "mailto:ada@b.example?subject=c or HTTPS://A.EXAMPLE/B": [
        "mailto:ada@b.example?subject=c",
        ("HTTPS://A.EXAMPLE/B", "https://a.example/B"),
    ],
    "見てhttps://例え.example/道。": [
        ("https://例え.example/道", "https://xn--r8jz45g.example/%E9%81%93")
    ],
    # Letters of another alphabet, and a sign after which all is the other way round.
    "https://\u0430pple.example/": [
        ("https://\u0430pple.example/", "https://xn--pple-43d.example/")
    ],
    "https://a.example/\u202egnp.exe \u202ehttps://b.example/": [
        "https://a.example/",
        "https://b.example/",
    ],
    "<a href='https://a.example/'>b</a>": ["https://a.example/"],
    "javascript:alert(1) data:text/html,x ftp://a.example xhttp://b.example": [],
    "http:// https://? mailto:nobody http://[ https://a b": [("https://a", "https://a/")],
}
LINKS = """content => [...content.querySelectorAll("a")].map(
  ({ textContent, href, title, rel, target }) => ({ textContent, href, title, rel, target })
)"""


#: Each of a megabyte, as one message of a bot may have.
HOSTILE = {
    "brackets": ("http://a.example/", ")"),
    "openings": ("http://a.example/", "(]"),
    "addresses": ("", "http://a.example "),
    "beginnings": ("", "http://"),
    "marks": ("mailto:", "."),
    "letters": ("", "mailto"),
}

#: Shows a message, and how long that takes.
SHOW = """async (element, text) => {
  const data = { id: text.slice(0, 30), content: text };
  const entry = { seq: 0, name: "message", data, live: true };
  const log = element.shadowRoot.querySelector("[part=list]");
  const messages = log.getElementsByTagName("article");
  const before = messages.length;
  const began = performance.now();
  element.client.dispatchEvent(new CustomEvent("event", { detail: entry }));
  while (messages.length === before) await new Promise(requestAnimationFrame);
  const shown = messages[before].querySelector("[part=content]");
  if (shown.textContent !== text) throw new Error("it is another text");
  const took = performance.now() - began;
  shown.closest("article").remove();
  return [shown.querySelectorAll("a").length, took];
}"""


def test_links(open_chat: Callable[..., Chat]) -> None:
    """
    In what a person says, in what a bot says at once or in a stream, and after a reload. Hostile
    texts take no longer than others: they are there to the letter, their links are not too many.
    """
    chat = open_chat(path="/bare/")
    for count, text in enumerate(TEXTS, start=1):
        chat.say(text)
        expect(chat.contents).to_have_count(3 * count)
    for again in (False, True):
        if again:
            chat.reload()
        expect(chat.contents).to_have_count(3 * len(TEXTS))
        expect(chat.streaming).to_have_count(0)
        count = sum(len(links) for links in TEXTS.values())
        expect(chat.log.locator("a")).to_have_count(3 * count)
        assert chat.texts() == [text for text in TEXTS for _ in range(3)]
        found = chat.contents.evaluate_all(f"contents => contents.map({LINKS})")
        assert found == [expected(links) for links in TEXTS.values() for _ in range(3)]
    for start, repeated in HOSTILE.values():
        text = start + repeated * (2**20 // len(repeated))
        count, took = chat.element.evaluate(SHOW, text)
        assert count <= 500
        assert took < 5000


def expected(links: list[str | tuple[str, str]]) -> list[dict[str, Any]]:
    pairs = [(link, link) if isinstance(link, str) else link for link in links]
    rel = {"rel": "noopener noreferrer nofollow", "target": "_blank"}
    return [{"textContent": text, "href": href, "title": href, **rel} for text, href in pairs]

"""Markdown in the admin's transcript: what it becomes, what it never becomes, and without it."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client

from chatsessions.admin.markdown import SCHEMES, TAGS, to_html
from chatsessions.admin.transcript import MAX_TEXT

from .support.admin import lines, page_of, said, say
from .support.hostile import HEAVY, HOST, HOSTILE
from .support.storage import session_row


class Parsed(HTMLParser):
    """The elements of a piece of HTML, as a browser finds them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def parsed(text: str) -> Parsed:
    html = to_html(text)
    assert html is not None
    return Parsed(html)


def message(content: str, **more: Any) -> dict[str, Any]:
    return said("m", content) | more


def test_what_a_model_writes_is_shown_as_it_is_meant() -> None:
    found = parsed(
        "# One\n\n- [ ] open\n- [x] done\n\n| a | b |\n|--|-:|\n| **1** | ~~2~~ |\n\n"
        "```python\nif a < b:\n```\n\n3. [there](https://x.example/?a=1&b=2)\n\n> `code`"
    )
    assert [tag for tag, _ in found.elements if tag in ("h3", "strong", "s", "pre")] == [
        "h3",
        "strong",
        "s",
        "pre",
    ]
    assert found.of("td")[1] == {"style": "text-align:right"}
    assert found.of("ol") == [{"start": "3"}]
    assert found.of("a") == [
        {"href": "https://x.example/?a=1&b=2", "rel": "noopener noreferrer nofollow"}
    ]
    assert "☐ open" in found.text
    assert "☑ done" in found.text
    assert "if a < b:" in found.text


def test_a_picture_is_a_link_and_inside_of_a_link_its_text() -> None:
    found = parsed(
        f"![one](https://{HOST}/a.png) [![two](https://{HOST}/b.png)](https://x.example/)"
    )
    assert [link["href"] for link in found.of("a")] == [
        f"https://{HOST}/a.png",
        "https://x.example/",
    ]
    assert found.text.split() == ["one", "two"]


def test_what_is_hostile_stays_text() -> None:
    assert [text for text in HOSTILE if not is_harmless(parsed(text))] == []


def is_harmless(found: Parsed) -> bool:
    """Whether there are only elements of Markdown, and links to where they may lead."""
    return all(
        tag in TAGS
        and set(attributes) <= {"href", "title", "rel", "start", "style"}
        and (attributes.get("style") or "text-align:left").startswith("text-align:")
        and (tag != "a" or is_good_link(attributes))
        for tag, attributes in found.elements
    )


def is_good_link(attributes: dict[str, str | None]) -> bool:
    return attributes["rel"] == "noopener noreferrer nofollow" and urlsplit(
        attributes["href"] or "javascript:"
    ).scheme in (*SCHEMES, "")


def test_a_message_and_a_question_are_html_if_they_say_so() -> None:
    made = lines(
        ("message", message("**a**", format="markdown")),
        ("message", message("**b**", id="b")),
        ("ask", {"call": "c", "kind": "text", "content": "**c**", "format": "markdown"}),
        ("message", message("", id="d", format="markdown")),
    )
    assert [line.html for line in made] == [
        "<p><strong>a</strong></p>\n",
        None,
        "<p><strong>c</strong></p>\n",
        "",
    ]


def test_a_change_decides_and_what_is_removed_is_shown_as_it_was_written() -> None:
    changed = lines(
        ("message", message("**a**")),
        ("message_update", message("**b**", format="markdown")),
    )
    assert [line.html for line in changed] == ["<p><strong>b</strong></p>\n"]
    removed = lines(
        ("message", message("**a**", format="markdown")), ("message_remove", {"id": "m"})
    )
    assert [line.html for line in removed] == [None]


def test_what_takes_long_is_shown_as_it_is_written() -> None:
    """A page of the dearest messages is made all the same, the latest as they are meant."""
    text = HEAVY["pictures"][:MAX_TEXT]
    made = lines(
        *[("message", message(text, id=f"{n}", format="markdown")) for n in range(400)],
        ("message", message("*last*", id="last", format="markdown")),
    )
    assert made[-1].html == "<p><em>last</em></p>\n"
    assert made[0].html is None
    assert made[0].text is not None


@pytest.mark.django_db
def test_the_page_has_it(admin_client: Client) -> None:
    session = session_row()
    for text in ("**bold** <b>text</b>", "<script>alert(1)</script>"):
        say(session, "message", message(text, id=text, format="markdown"))
    page = page_of(admin_client, session)
    assert "<p><strong>bold</strong> &lt;b&gt;text&lt;/b&gt;</p>" in page
    assert "<script>alert(1)" not in page


def test_without_the_extra_it_is_shown_as_it_is_written() -> None:
    code = (
        "import sys; sys.modules['nh3'] = None\n"
        "import django; django.setup()\n"
        "from chatsessions.admin.markdown import to_html\n"
        "assert to_html('**a**') is None"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""
Render messages in Markdown as HTML, for the transcript.

This needs the extra ``markdown``. Without it a transcript shows the Markdown text as it is written.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from django.utils.safestring import SafeString, mark_safe

try:
    import nh3
    from markdown_it import MarkdownIt
    from markdown_it.token import Token
except ImportError:  # the extra is not installed
    HAS_MARKDOWN = False
else:
    HAS_MARKDOWN = True

if TYPE_CHECKING:
    from markdown_it.rules_core import StateCore

#: Headings of a message are below those of the page: the first level is an h3.
HEADINGS = {f"h{level}": f"h{min(level + 2, 6)}" for level in range(1, 7)}
#: The signs that replace the checkboxes of tasks.
TASKS = {"[ ] ": "☐ ", "[x] ": "☑ ", "[X] ": "☑ "}
#: The tags that Markdown makes; all others are removed.
TAGS = {
    *("p", "br", "hr", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "li", "pre", "code"),
    *("em", "strong", "s", "a", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "th": {"style"}, "td": {"style"}}
ALIGNMENTS = {f"text-align:{side}" for side in ("left", "center", "right")}
SCHEMES = {"http", "https", "mailto"}
_SCHEME = re.compile(r"\s*([a-z][a-z0-9+.-]*):", re.IGNORECASE)


def to_html(text: str) -> SafeString | None:
    """
    Return Markdown as HTML; None if the packages of the extra are not installed.

    HTML in the text is shown as text, and a picture becomes a link. A link with a scheme other than
    http, https and mailto is shown as it is written.
    """
    if not HAS_MARKDOWN:
        return None
    html = nh3.clean(
        _parser().render(text),
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes=SCHEMES,
        link_rel="noopener noreferrer nofollow",
    )
    return mark_safe(html)  # noqa: S308  # it is sanitized


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    # The parser shows a link that is not allowed as it is written.
    parser.validateLink = _is_allowed  # type: ignore[method-assign]
    parser.core.ruler.push("chatsessions", _adapt)
    return parser


def _is_allowed(url: str) -> bool:
    """Return True if a link may lead to ``url``, which may be relative."""
    scheme = _SCHEME.match(url)
    return scheme is None or scheme[1].lower() in SCHEMES


def _adapt(state: StateCore) -> None:
    """Lower headings, and replace pictures and checkboxes, which a transcript does not have."""
    for index, token in enumerate(state.tokens):
        token.tag = HEADINGS.get(token.tag, token.tag)
        if token.children:
            token.children = _without_pictures(token.children)
            if index > 1 and state.tokens[index - 2].type == "list_item_open":
                first = token.children[0]
                mark = TASKS.get(first.content[:4])
                first.content = f"{mark}{first.content[4:]}" if mark else first.content


def _without_pictures(tokens: list[Token]) -> list[Token]:
    """Replace each picture by a link to it; inside of a link, by its text."""
    found: list[Token] = []
    linked = False
    for token in tokens:
        if token.type in ("link_open", "link_close"):
            linked = token.nesting > 0
        if token.type != "image":
            found.append(token)
            continue
        address = str(token.attrs.get("src", ""))
        text = Token("text", "", 0, content=token.content or address)
        if linked:
            found.append(text)
        else:
            link = Token("link_open", "a", 1, attrs={"href": address})
            found += [link, text, Token("link_close", "a", -1)]
    return found


def _attribute(_tag: str, name: str, value: str) -> str | None:
    return value if name != "style" or value in ALIGNMENTS else None

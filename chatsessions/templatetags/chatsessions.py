"""``{% load chatsessions %}{% chat_session "/ws/counter/" %}``: a conversation on a page."""

from django import template
from django.forms.utils import flatatt
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

SCRIPT = "chatsessions/chat-session.js"


@register.simple_tag
def chat_session(
    src: str,
    heading: str = "",
    *,
    placeholder: str = "",
    nonce: object = None,
    **attributes: object,
) -> SafeString:
    """
    Render ``<chat-session>`` and the script that brings it to life.

    ``src`` is the path (or URL) of the chat's websocket. ``nonce`` is for pages with a
    Content-Security-Policy: ``nonce=csp_nonce``. Any other keyword becomes an attribute of the
    element, with dashes for underscores: ``class``, ``id``, ``profile``, ``data_theme``, …
    A tag may stand on a page more than once; a browser runs the script once.
    """
    # A nonce may be lazy, and false until it is looked at: so look, don't test.
    script = {"type": "module", "src": static(SCRIPT), "nonce": "" if nonce is None else str(nonce)}
    element = {"src": src, "heading": heading, "placeholder": placeholder}
    element |= {name.replace("_", "-"): _text(value) for name, value in attributes.items()}
    return format_html(
        "<script{}></script>\n"
        "<chat-session{}><noscript>This chat needs JavaScript.</noscript></chat-session>",
        flatatt(_given(script)),
        flatatt(_given(element)),
    )


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _given(attributes: dict[str, str]) -> dict[str, str]:
    """Leave out what is empty."""
    return {name: value for name, value in attributes.items() if value != ""}

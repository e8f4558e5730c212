"""``{% load chatsessions %}{% chat_session "/ws/counter/" %}`` puts a conversation on a page."""

from __future__ import annotations

import json
from dataclasses import asdict, is_dataclass
from functools import cache
from gettext import translation
from itertools import count, takewhile
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

from django import template
from django.conf import settings as django_settings
from django.core.exceptions import SynchronousOnlyOperation
from django.forms.utils import flatatt
from django.shortcuts import resolve_url
from django.templatetags.static import static
from django.urls import NoReverseMatch, get_script_prefix, reverse
from django.utils.html import format_html, json_script
from django.utils.safestring import SafeString
from django.utils.translation import check_for_language, get_language, gettext
from django.utils.translation.trans_real import DjangoTranslation

from chatsessions.auth.access import owner_of
from chatsessions.conf import settings

register = template.Library()

SCRIPT = "chatsessions/chat-session.js"
WIDGET = "chatsessions/widget.js"
#: The files that the element's script loads when it needs them, by the attribute with their URL.
LAZY = {f"{name}-src": f"chatsessions/{name}.js" for name in ("panels", "markdown", "highlight")}
#: The id of the page's element with the translated messages of its scripts.
MESSAGES = "chatsessions-messages"
#: Django's gettext domain for messages of scripts.
DOMAIN = "djangojs"
LOCALE = Path(__file__).resolve().parent.parent / "locale"

#: The value of each attribute; True for an attribute without a value.
Attributes = dict[str, str | bool]


@register.simple_tag(takes_context=True)
def chat_session(
    context: template.Context,
    src: str,
    heading: str = "",
    *,
    nonce: object = None,
    **attributes: object,
) -> SafeString:
    """
    Render ``<chat-session>`` and its script.

    ``src`` is the path (or URL) of the chat's websocket; a path that begins with a slash gets the
    site's script prefix, as those of ``reverse()`` do. ``nonce`` is for pages with a
    Content-Security-Policy: ``nonce=csp_nonce``. ``profiles`` is a list of profiles to choose
    from, or ``True``: then the page asks the server, and needs ``chat``, the chat's name.
    ``login_url`` is anything that ``redirect()`` accepts; the URL of this page is added as
    ``next``. Any other keyword becomes an attribute of the element, with dashes for underscores:
    ``class``, ``id``, ``profile``, ``data_theme``, … ``True`` adds an attribute without a value,
    ``False`` and ``None`` add nothing.

    Some attributes are filled in unless they are given: ``language``, the active language;
    ``api``, if ``chatsessions.urls`` is included; ``max-file-bytes``, which is ``MAX_FILE_BYTES``,
    with ``files``; and ``owner``, a keyed hash of the user, if the context has a request. With
    ``owner`` the tab does not send messages that another user has written in it.

    A page may have several of these tags; a browser runs the script once.
    """
    given = _chat(context, src, heading, **attributes)
    return format_html(
        "{}<script{}></script>\n<chat-session{}><noscript>{}</noscript></chat-session>",
        _messages(given, context),
        _module(SCRIPT, nonce),
        flatatt(given),
        gettext("This chat needs JavaScript."),
    )


@register.simple_tag(takes_context=True)
def chat_widget(
    context: template.Context,
    src: str,
    heading: str = "",
    *,
    nonce: object = None,
    **attributes: object,
) -> SafeString:
    """
    Render a button in the corner of the page that opens a chat, and its script.

    The arguments are those of ``chat_session``. The script of ``<chat-session>`` is loaded when the
    user opens the chat. Without JavaScript nothing is shown.
    """
    given = _chat(context, src, heading, **attributes)
    return format_html(
        "{}<script{}></script>\n<chat-widget{}></chat-widget>",
        _messages(given, context),
        _module(WIDGET, nonce),
        flatatt({"script": static(SCRIPT), **given}),
    )


def _module(path: str, nonce: object) -> SafeString:
    """Return the attributes of the ``<script>`` for a file of this package."""
    # A nonce may be lazy, and false until it is evaluated: so evaluate it, don't test it.
    text = "" if nonce is None else str(nonce)
    return flatatt(_given({"type": "module", "src": static(path), "nonce": text}))


def _chat(
    context: template.Context,
    src: str,
    heading: str,
    *,
    profiles: object = None,
    login_url: object = None,
    **attributes: object,
) -> Attributes:
    """Return the attributes of the chat's element: those given, and those filled in."""
    request = context.get("request")
    element: Attributes = _lazy(static(SCRIPT))
    element |= {"src": _below_prefix(src), "heading": heading}
    element |= {"language": get_language() or "", "api": _api()}
    element |= {name.replace("_", "-"): _value(value) for name, value in attributes.items()}
    if element.get("files"):
        element.setdefault("max-file-bytes", str(settings.MAX_FILE_BYTES))
    element |= {"profiles": _profiles(profiles), "login-url": _login_url(login_url, request)}
    given = _given(element)
    owner = _owner(request)
    if owner is not None:  # an empty one says that nobody is logged in
        given.setdefault("owner", owner)
    return given


def _lazy(script: str) -> Attributes:
    """Return the URLs of those ``LAZY`` files that are not beside the script."""
    urls: Attributes = {name: static(path) for name, path in LAZY.items()}
    beside = {name: urljoin(script, path.rpartition("/")[2]) for name, path in LAZY.items()}
    return {name: url for name, url in urls.items() if url != beside[name]}


def _messages(element: Attributes, context: template.Context) -> SafeString | str:
    """Return the translated messages of an element, as JSON for its script; once per page."""
    language = str(element.get("language", ""))
    if context.render_context.get(MESSAGES):
        return ""
    context.render_context[MESSAGES] = True
    messages = _catalogue(language, tuple(map(str, django_settings.LOCALE_PATHS)))
    if not messages:
        return ""
    found = json_script({"language": language, "messages": messages}, MESSAGES)
    return format_html("{}\n", found)


@cache
def _catalogue(language: str, _paths: tuple[str, ...]) -> dict[str, str | list[str]]:
    """
    Return the translations of the element's messages.

    The value of a message with a plural is the list of its forms. Translations in the project's
    ``LOCALE_PATHS`` come before those of this package.
    """
    if not language or not check_for_language(language):
        return {}
    found: Any = DjangoTranslation(language, domain=DOMAIN, localedirs=[str(LOCALE)])
    # Each catalogue of this package has all messages. A project's also has messages of its own.
    known: Any = translation(DOMAIN, str(LOCALE), ["de"])
    translated: dict[str, str | list[str]] = {}
    for key in known._catalog:
        if isinstance(key, str):
            text = found.gettext(key)
            if key and text != key:
                translated[key] = text
        elif found._catalog.get((key[0], 0)):
            forms = takewhile(bool, (found._catalog.get((key[0], form)) for form in count()))
            translated[key[0]] = list(forms)
    return translated


def _below_prefix(src: str) -> str:
    """Return a path of this site with the site's prefix, and a URL of another site as it is."""
    if src.startswith("/") and not src.startswith("//"):
        return get_script_prefix() + src[1:]
    return src


def _owner(request: Any) -> str | None:
    """Return the hash of the request's user; None if the user is not known."""
    try:
        user = getattr(request, "user", None)
        return None if user is None else owner_of(user)
    except SynchronousOnlyOperation:
        return None  # an async view renders this, and has not loaded the user before


def _api() -> str:
    """Return the path at which ``chatsessions.urls`` is included; empty if it is not."""
    try:
        return reverse("chatsessions:threads").removesuffix("threads/")
    except NoReverseMatch:
        return ""


def _profiles(value: object) -> str | bool:
    """Return the value of the element's attribute for ``profiles``: a list becomes JSON."""
    if value is None or isinstance(value, bool | str):
        return _value(value)
    profiles: Any = value
    return json.dumps(
        [asdict(one) if is_dataclass(one) else dict(one) for one in profiles]  # type: ignore[arg-type]
    )


def _login_url(to: Any, request: Any) -> str:
    """Return the URL of the login, which leads back to the page of ``request``."""
    if not to:
        return ""
    url = resolve_url(to)
    if request is None or "?" in url:
        return url
    return f"{url}?{urlencode({'next': request.get_full_path()})}"


def _value(value: object) -> str | bool:
    """Return the text of an attribute, or a bool for one without text."""
    if isinstance(value, bool):
        return value
    return "" if value is None else str(value)


def _given(attributes: Attributes) -> Attributes:
    """Return the attributes that are not empty."""
    return {name: value for name, value in attributes.items() if value not in ("", False)}

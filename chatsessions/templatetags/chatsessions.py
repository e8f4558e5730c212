"""``{% load chatsessions %}{% chat_session "/ws/counter/" %}`` puts a conversation on a page."""

from __future__ import annotations

import dataclasses
import json
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
#: By the element's attribute: files that its script loads when there is something for them to show.
LAZY = {f"{name}-src": f"chatsessions/{name}.js" for name in ("panels", "markdown", "highlight")}
#: The id of the element in the page that has the messages of the page's scripts.
MESSAGES = "chatsessions-messages"
#: Django's domain of messages of scripts.
DOMAIN = "djangojs"
LOCALE = Path(__file__).resolve().parent.parent / "locale"

#: A text, or whether it is there without one.
Attributes = dict[str, str | bool]


@register.simple_tag(takes_context=True)
def chat_session(
    context: template.Context,
    src: str,
    heading: str = "",
    *,
    placeholder: str = "",
    nonce: object = None,
    profiles: object = None,
    login_url: object = None,
    **attributes: object,
) -> SafeString:
    """
    Render ``<chat-session>`` and its script.

    ``src`` is the path (or URL) of the chat's websocket; a path that begins with a slash gets the
    prefix of a site below one, as those of ``reverse()`` do. ``nonce`` is for pages with a
    Content-Security-Policy: ``nonce=csp_nonce``. ``profiles`` is a list of profiles to choose
    from, or ``True``: then the page asks the server, and needs ``chat``, the chat's name.
    ``login_url`` is what ``redirect()`` takes; the way back to this page is added. Any other
    keyword becomes an attribute of the element, with dashes for underscores: ``class``, ``id``,
    ``profile``, ``data_theme``, … ``True`` is an attribute without a value, ``False`` and
    ``None`` are none. ``language`` is the active language, unless it is given. ``api`` is filled
    in where ``chatsessions.urls`` is included, with ``files`` ``max-file-bytes``, which is
    ``MAX_FILE_BYTES``, and where the context has a request ``owner``, a keyed hash of its user:
    the tab then sends nothing that somebody else has written in it.

    A tag may stand on a page more than once; a browser runs the script once.
    """
    given = _chat(
        context,
        {"src": src, "heading": heading, "placeholder": placeholder, "profiles": profiles}
        | {"login_url": login_url, **attributes},
    )
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

    The arguments are those of ``chat_session``. ``<chat-session>`` is fetched when somebody opens
    the chat. Without JavaScript there is nothing to see.
    """
    given = _chat(context, {"src": src, "heading": heading, **attributes})
    return format_html(
        "{}<script{}></script>\n<chat-widget{}></chat-widget>",
        _messages(given, context),
        _module(WIDGET, nonce),
        flatatt({"script": static(SCRIPT), **given}),
    )


def _module(path: str, nonce: object) -> SafeString:
    """Return the attributes of a script of ours."""
    # A nonce may be lazy, and false until it is looked at: so look, don't test.
    text = "" if nonce is None else str(nonce)
    return flatatt(_given({"type": "module", "src": static(path), "nonce": text}))


def _chat(context: template.Context, keywords: dict[str, Any]) -> Attributes:
    """Return the attributes of the chat's element: those given, and those it is to know."""
    profiles, login_url = keywords.pop("profiles", None), keywords.pop("login_url", None)
    src = _below_prefix(keywords.pop("src"))
    element: Attributes = {"src": src, "heading": keywords.pop("heading")}
    element |= {"language": get_language() or "", "api": _api()}
    element |= {name.replace("_", "-"): _value(value) for name, value in keywords.items()}
    if element.get("files"):
        element.setdefault("max-file-bytes", str(settings.MAX_FILE_BYTES))
    element["profiles"] = _profiles(profiles)
    request = context.get("request")
    element["login-url"] = _login_url(login_url, request)
    given = _given(_lazy(static(SCRIPT)) | element)
    owner = _owner(request)
    if owner is not None:  # the empty one says that nobody is logged in
        given.setdefault("owner", owner)
    return given


def _lazy(script: str) -> Attributes:
    """Return where files are that a script does not find beside itself."""
    urls: Attributes = {name: static(path) for name, path in LAZY.items()}
    beside = {name: urljoin(script, path.rpartition("/")[2]) for name, path in LAZY.items()}
    return {name: url for name, url in urls.items() if url != beside[name]}


def _messages(element: Attributes, context: template.Context) -> SafeString | str:
    """Return what an element says in its language, as JSON for its script; once for a page."""
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
    Return the translations of the element's messages; of one with a plural all its forms.

    They are those of this package, and before them those of the project's ``LOCALE_PATHS``.
    """
    if not language or not check_for_language(language):
        return {}
    found: Any = DjangoTranslation(language, domain=DOMAIN, localedirs=[str(LOCALE)])
    # A project's catalogue has more, for its own scripts. Each of ours has all of the element's.
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
    """Return whose page this is; None if the request does not say, or cannot be asked."""
    try:
        user = getattr(request, "user", None)
        return None if user is None else owner_of(user)
    except SynchronousOnlyOperation:
        return None  # an async view renders this, and nobody has asked for the user before


def _api() -> str:
    """Return the path at which ``chatsessions.urls`` is included; empty if it is not."""
    try:
        return reverse("chatsessions:threads").removesuffix("threads/")
    except NoReverseMatch:
        return ""


def _profiles(value: object) -> str | bool:
    """Return profiles as the element reads them."""
    if value is None or isinstance(value, bool | str):
        return _value(value)
    profiles: Any = value
    return json.dumps([_as_dict(profile) for profile in profiles])


def _as_dict(profile: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(profile) and not isinstance(profile, type):
        return dataclasses.asdict(profile)
    return dict(profile)


def _login_url(to: Any, request: Any) -> str:
    """Return the address of the login, which leads back to the page of ``request``."""
    if not to:
        return ""
    url = resolve_url(to)
    if request is None or "?" in url:
        return url
    return f"{url}?{urlencode({'next': request.get_full_path()})}"


def _value(value: object) -> str | bool:
    """Return an attribute's text; True for one that has none."""
    if isinstance(value, bool):
        return value
    return "" if value is None else str(value)


def _given(attributes: Attributes) -> Attributes:
    """Return the attributes that are not empty."""
    return {name: value for name, value in attributes.items() if value not in ("", False)}

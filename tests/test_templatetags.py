"""``{% chat_session %}``: what it writes into a page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polib
import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.template import Context, Template, TemplateSyntaxError
from django.test import RequestFactory, override_settings
from django.urls import include, path
from django.utils import translation
from django.utils.functional import SimpleLazyObject

urlpatterns = [path("talk/", include("chatsessions.urls"))]

Element = tuple[str, dict[str, str | None]]


class Elements(HTMLParser):
    """The elements of some HTML, as a browser would read them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[Element] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.fixture(autouse=True)
def no_urls() -> Iterator[None]:
    """No ``chatsessions.urls`` and no language, unless a test says otherwise."""
    with override_settings(ROOT_URLCONF="django.contrib.auth.urls"), translation.override(None):
        yield


def render(arguments: str, *, tag: str = "chat_session", **values: object) -> list[Element]:
    template = Template(f"{{% load chatsessions %}}{{% {tag} {arguments} %}}")
    return Elements(template.render(Context(values))).found


def element(arguments: str, **values: object) -> dict[str, str | None]:
    """The attributes of the element, the only one of its kind."""
    (found,) = [attrs for tag, attrs in render(arguments, **values) if tag == "chat-session"]
    return found


def script(arguments: str, **values: object) -> dict[str, str | None]:
    (found,) = [attrs for tag, attrs in render(arguments, **values) if tag == "script"]
    return found


def test_the_least() -> None:
    """A path is enough: the script as a module, the element, and a word for who has no script."""
    assert render('"/ws/counter/"') == [
        ("script", {"type": "module", "src": "/static/chatsessions/chat-session.js"}),
        ("chat-session", {"src": "/ws/counter/"}),
        ("noscript", {}),
    ]


def test_heading_and_placeholder() -> None:
    """The heading may be named or come second; what is empty is left out."""
    assert element('"/ws/" "Counter"') == element('"/ws/" heading="Counter"')
    assert element('"/ws/" heading="Counter" placeholder="Count me"') == {
        "src": "/ws/",
        "heading": "Counter",
        "placeholder": "Count me",
    }
    assert element('"/ws/" heading="" placeholder=missing profile=missing') == {"src": "/ws/"}


def test_other_attributes() -> None:
    """Any keyword becomes an attribute, with dashes for underscores; None is none."""
    found = element(
        '"/ws/" id="chat" class="a b" data_theme_name="x" thread=7 profile=none', none=None
    )
    assert found == {
        "src": "/ws/",
        "id": "chat",
        "class": "a b",
        "data-theme-name": "x",
        "thread": "7",
    }


def test_the_page_knows_how_large_a_file_may_be(settings: Any) -> None:
    """So that it sends none in vain."""
    settings.CHATSESSIONS = {"MAX_FILE_BYTES": 1000}
    assert element('"/ws/" files=True')["max-file-bytes"] == "1000"
    assert element('"/ws/" files=True max_file_bytes=5')["max-file-bytes"] == "5"
    assert "max-file-bytes" not in element('"/ws/" files=False')


def test_attributes_without_a_value() -> None:
    """True is there, False and None are not."""
    found = element('"/ws/" files=True threads=False data_x=none', none=None)
    assert found == {"src": "/ws/", "files": None, "max-file-bytes": "104857600"}
    assert element('"/ws/" files="image/*" profiles=True chat="desk"') == {
        "src": "/ws/",
        "files": "image/*",
        "max-file-bytes": "104857600",
        "profiles": None,
        "chat": "desk",
    }


def test_the_language_of_the_page_is_that_of_the_session() -> None:
    with translation.override("de"):
        html = Template('{% load chatsessions %}{% chat_session "/ws/" %}').render(Context())
        assert element('"/ws/"')["language"] == "de"
        assert "<noscript>Dieser Chat braucht JavaScript.</noscript>" in html
        assert element('"/ws/" language="fr"')["language"] == "fr"


@override_settings(ROOT_URLCONF=__name__)
def test_the_way_to_the_urls() -> None:
    """Where a project includes them, the page is told; one may say otherwise."""
    assert element('"/ws/"') == {"src": "/ws/", "api": "/talk/"}
    assert element('"/ws/" api="/other/"')["api"] == "/other/"


@dataclass
class Profile:
    name: str
    markdown_description: str = ""


def test_profiles_to_choose_from() -> None:
    """A list of them becomes JSON, which gets out of its attribute as little as anything else."""
    evil = """"><script>alert('1')</script>"""
    found = element('"/ws/" profiles=profiles', profiles=[Profile("a", evil), {"name": "b"}])
    assert json.loads(found["profiles"] or "") == [
        {"name": "a", "markdown_description": evil},
        {"name": "b"},
    ]
    assert element('"/ws/" profiles=profiles', profiles=[])["profiles"] == "[]"


def test_the_way_to_the_login() -> None:
    """By name or by path, with the way back to the page if it is known."""
    request = RequestFactory().get("/desk/?a=1&b=2")
    found = element('"/ws/" login_url="login"', request=request)
    assert found["login-url"] == "/login/?next=%2Fdesk%2F%3Fa%3D1%26b%3D2"
    assert element('"/ws/" login_url="/in/?next=/x/"', request=request)["login-url"] == (
        "/in/?next=/x/"
    )
    assert element('"/ws/" login_url="/in/"')["login-url"] == "/in/"
    assert "login-url" not in element('"/ws/" login_url=none', none=None)


@pytest.mark.parametrize("name", ["src", "heading", "placeholder", "class", "nonce"])
def test_values_are_escaped(name: str) -> None:
    """No value gets out of its attribute."""
    value = """"><script>alert('1')</script><a b='&amp;"""
    arguments = "value" if name == "src" else f'"/ws/" {name}=value'
    found = render(arguments, value=value)
    assert [tag for tag, _ in found] == ["script", "chat-session", "noscript"]
    assert dict(found)["script" if name == "nonce" else "chat-session"][name] == value


def test_a_nonce_is_the_script_s() -> None:
    """It goes on the script alone, and is not on the page where there is none."""
    assert script('"/ws/" nonce="abc"')["nonce"] == "abc"
    assert "nonce" not in element('"/ws/" nonce="abc"')
    for nothing in (None, ""):
        assert "nonce" not in script('"/ws/" nonce=nonce', nonce=nothing)
    assert "nonce" not in script('"/ws/" nonce=missing')


def test_a_lazy_nonce() -> None:
    """One that is made when it is first written, and false until then, is written."""

    class Nonce:
        value = ""

        def __str__(self) -> str:
            self.value = self.value or "made"
            return self.value

        def __bool__(self) -> bool:
            return bool(self.value)

    assert script('"/ws/" nonce=nonce', nonce=Nonce())["nonce"] == "made"
    lazy = SimpleLazyObject(lambda: "lazy")
    assert script('"/ws/" nonce=nonce', nonce=lazy)["nonce"] == "lazy"


@override_settings(
    STATIC_URL="https://cdn.example.com/",
    STORAGES={"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}},
)
def test_the_script_is_a_static_file() -> None:
    """It is looked for where the project keeps its static files."""
    found = script('"/ws/"')
    assert found["src"] == "https://cdn.example.com/chatsessions/chat-session.js"


class SignedStorage(StaticFilesStorage):
    """No address leads to another file than its own."""

    def url(self, name: str | None) -> str:
        return f"{super().url(name)}?signature={name}"


@override_settings(STORAGES={"staticfiles": {"BACKEND": f"{__name__}.SignedStorage"}})
def test_files_that_are_loaded_later_are_named_where_their_script_cannot_find_them() -> None:
    found = element("'/ws/'")
    for name in ("markdown", "panels", "highlight"):
        file = f"chatsessions/{name}.js"
        assert found[f"{name}-src"] == f"/static/{file}?signature={file}"


@pytest.mark.usefixtures("below_a_path")
@override_settings(ROOT_URLCONF=__name__)
def test_a_site_below_a_path_has_its_prefix_in_both_addresses() -> None:
    """The websocket's as well, or the page is offline for ever."""
    found = element('"/ws/desk/"')
    assert found["src"] == "/app/ws/desk/"
    assert found["api"] == "/app/talk/"


@pytest.mark.usefixtures("below_a_path")
@pytest.mark.parametrize(
    "src", ["wss://chat.example.com/ws/", "https://chat.example.com/ws/", "//other.host/ws/", "ws/"]
)
def test_an_address_that_is_no_path_of_the_site_stays_as_it_is(src: str) -> None:
    assert element(f'"{src}"')["src"] == src


def test_a_path_is_needed() -> None:
    """Without one the template does not compile."""
    with pytest.raises(TemplateSyntaxError, match="src"):
        render("")


@override_settings(
    ROOT_URLCONF=__name__,
    STATIC_URL="https://cdn.example.com/",
    STORAGES={"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}},
)
def test_a_widget_knows_where_the_element_is_and_all_that_the_element_is_to_know() -> None:
    found = render(
        '"/ws/" "Help" files=True nonce="abc" login_url="/in/" id="help"', tag="chat_widget"
    )
    folder = "https://cdn.example.com/chatsessions/"
    assert found == [
        ("script", {"type": "module", "src": f"{folder}widget.js", "nonce": "abc"}),
        (
            "chat-widget",
            {
                "script": f"{folder}chat-session.js",
                "src": "/ws/",
                "heading": "Help",
                "api": "/talk/",
                "files": None,
                "id": "help",
                "login-url": "/in/",
                "max-file-bytes": "104857600",
            },
        ),
    ]


def test_a_widget_of_a_page_has_its_owner_and_profiles() -> None:
    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    [_, (tag, attributes)] = render(
        '"/ws/" profiles=profiles', tag="chat_widget", request=request, profiles=[{"name": "a"}]
    )
    assert tag == "chat-widget"
    assert attributes["owner"] == ""
    assert json.loads(attributes["profiles"] or "") == [{"name": "a"}]


def messages(html: str) -> list[dict[str, Any]]:
    """What the page has for its scripts to say."""
    found = re.findall(r'<script id="chatsessions-messages"[^>]*>(.*?)</script>', html)
    return [json.loads(text) for text in found]


def page(arguments: str = "", *, times: int = 1) -> str:
    tag = f'{{% chat_session "/ws/" {arguments} %}}'
    return Template("{% load chatsessions %}" + tag * times).render(Context())


def test_what_the_element_says_is_in_the_page_once_and_only_where_it_is_not_english() -> None:
    for language, send in (("de", "Senden"), ("fr", "Envoyer"), ("es", "Enviar")):
        with translation.override(language):
            (found,) = messages(page(times=2))
        assert found["language"] == language
        assert found["messages"]["Send"] == send
        assert "This chat needs JavaScript." not in found["messages"]  # the page has said it
    for language in ("en", "en-gb", "eo"):
        with translation.override(language):
            assert messages(page()) == []
    assert messages(page('language="de-at"'))[0]["messages"]["Send"] == "Senden"
    assert messages(page('language="../../de"')) == []


def test_plurals_have_all_their_forms() -> None:
    (found,) = messages(page('language="es"'))
    one, many, other = found["messages"]["%(count)s conversation"]
    assert (one, many, other) == ("%(count)s conversación", other, "%(count)s conversaciones")


def test_a_projects_own_words_come_first(tmp_path: Path) -> None:
    """Also in English, and in a language that is not here."""
    for language, send in (("de", "Ab damit"), ("en", "Go"), ("eo", "Sendi")):
        folder = tmp_path / language / "LC_MESSAGES"
        folder.mkdir(parents=True)
        own = polib.POFile()
        own.metadata = {"Content-Type": "text/plain; charset=utf-8"}
        own.append(polib.POEntry(msgid="Send", msgstr=send))
        own.append(polib.POEntry(msgid="Of the project's own scripts", msgstr="!"))
        own.save_as_mofile(str(folder / "djangojs.mo"))
    with override_settings(LOCALE_PATHS=[tmp_path]):
        german, english, other = [
            messages(page(f'language="{language}"'))[0]["messages"]
            for language in ("de", "en", "eo")
        ]
    assert (german["Send"], german["Stop"]) == ("Ab damit", "Anhalten")
    assert english == {"Send": "Go"}
    assert other == {"Send": "Sendi"}

"""``manage.py startchat``: what it writes into a project, and what it leaves to its owner."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command

from chatsessions.management.commands.startchat import with_page, with_route

if TYPE_CHECKING:
    from pytest_django import Settings

ROOT = Path(__file__).resolve().parent.parent
COUNTER_ROUTE = '"ws/counter/": "bots.counter.chat"'
COUNTER_PAGE = 'path("", ChatPage.as_view(chat="bots.counter.chat", url="ws/counter/"))'
QUIZ_ROUTE = '"ws/quiz/": "bots.quiz.chat"'
QUIZ_PAGE = 'path("quiz/", ChatPage.as_view(chat="bots.quiz.chat", url="ws/quiz/"))'

DJANGOS_ASGI = '''\
"""ASGI config for mysite project."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'mysite.settings')

application = get_asgi_application()
'''

DJANGOS_URLS = '''\
"""URL configuration for mysite project — naïve, with a word that is not ASCII: größer."""
from django.contrib import admin
from django.urls import path

urlpatterns = [
    path('admin/', admin.site.urls),
]
'''


def test_djangos_own_asgi_serves_the_chat_and_then_a_second_one() -> None:
    first = with_route(DJANGOS_ASGI, COUNTER_ROUTE)
    assert first == DJANGOS_ASGI.replace(
        "from django.core.asgi import get_asgi_application",
        "from chatsessions.asgi import get_chat_application",
    ).replace(
        "get_asgi_application()", 'get_chat_application({"ws/counter/": "bots.counter.chat"})'
    )
    second = with_route(first, QUIZ_ROUTE)
    assert second is not None
    assert second.endswith(
        """\
application = get_chat_application({
    "ws/counter/": "bots.counter.chat",
    "ws/quiz/": "bots.quiz.chat",
})
"""
    )


def test_djangos_own_urls_have_the_page_and_then_a_second_one() -> None:
    first = with_page(DJANGOS_URLS, COUNTER_PAGE)
    assert first is not None
    assert first.count("from chatsessions.views import ChatPage") == 1
    assert (
        """\
    path('admin/', admin.site.urls),
    path("", ChatPage.as_view(chat="bots.counter.chat", url="ws/counter/")),
]
"""
        in first
    )
    second = with_page(first, QUIZ_PAGE)
    assert second is not None
    assert second.count("from chatsessions.views import ChatPage") == 1
    compile(second, "urls.py", "exec")


def test_what_is_imported_below_the_list_is_not_there_yet() -> None:
    """As in a project that was made by the README's steps, which add to the end."""
    first = f"{DJANGOS_URLS}\nfrom chatsessions.views import ChatPage\n\nurlpatterns += []\n"
    source = with_page(first, COUNTER_PAGE)
    assert source is not None
    names: dict[str, object] = {}
    before, _, _after = source.partition("urlpatterns = [")
    exec(before.replace("from django.contrib import admin", ""), names)  # noqa: S102
    assert {"path", "ChatPage"} <= names.keys()
    below = "urlpatterns = []\n\nfrom django.urls import path\n"
    assert with_page(below, COUNTER_PAGE) is None


@pytest.mark.parametrize(
    "end", ["", ",", "  # the first", ",  # the first", "  # a, b,", "\n    # no"]
)
def test_comments_behind_the_last_entry_stay_comments(end: str) -> None:
    """The comma that it needs went into the comment, and the file was none of Python's any more."""
    urls = with_page(
        f"from django.urls import path\n\nurlpatterns = [\n    path('a/', view){end}\n]\n",
        QUIZ_PAGE,
    )
    asgi = with_route(
        f"application = get_chat_application({{\n    'a': chat{end}\n}})\n", QUIZ_ROUTE
    )
    assert urls is not None
    assert asgi is not None
    patterns = ast.parse(urls).body[-1]
    assert isinstance(patterns, ast.Assign)
    assert isinstance(patterns.value, ast.List)
    assert [ast.unparse(one)[:11] for one in patterns.value.elts] == ["path('a/', ", "path('quiz/"]
    assert ast.unparse(ast.parse(asgi)) == (
        "application = get_chat_application({'a': chat, 'ws/quiz/': 'bots.quiz.chat'})"
    )
    for source in (urls, asgi):
        assert end.strip(", \n") in source


@pytest.mark.parametrize(
    "source",
    [
        "application = ProtocolTypeRouter({'http': get_asgi_application()})\n",
        "application = get_chat_application(CHATS)\n",
        "application = get_asgi_application()\napplication = Sentry(application)\n",
        "def application(scope):\n    pass\n",
        "application = (\n",
    ],
)
def test_an_asgi_that_is_somebodys_own_is_not_changed(source: str) -> None:
    assert with_route(source, COUNTER_ROUTE) is None


@pytest.mark.parametrize(
    "source",
    [
        "from x import urlpatterns\n",
        "urlpatterns = i18n_patterns(path('', view))\n",
        "from django.urls import re_path\n\nurlpatterns = [re_path('^$', view)]\n",
        "from os import path\nfrom django.urls import re_path\n\nurlpatterns = []\n",
        "from django.urls import path as route\n\nurlpatterns = []\n",
    ],
)
def test_urls_that_are_somebodys_own_are_not_changed(source: str) -> None:
    assert with_page(source, COUNTER_PAGE) is None


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Django's own new project, with the apps in its settings."""
    run(tmp_path, "-m", "django", "startproject", "mysite", ".")
    with (tmp_path / "mysite" / "settings.py").open("a") as settings:
        settings.write(
            'INSTALLED_APPS = ["daphne", *INSTALLED_APPS, "channels", "chatsessions"]\n'
            'ASGI_APPLICATION = "mysite.asgi.application"\n'
        )
    return tmp_path


def test_in_djangos_new_project_a_command_makes_a_chat(project: Path) -> None:
    before = {path: path.read_text() for path in project.rglob("*.py")}
    dry = run(project, "manage.py", "startchat", "counter", "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert dry.stdout.count("Would write") == 4
    assert {path: path.read_text() for path in project.rglob("*.py")} == before
    made = run(project, "manage.py", "startchat", "counter")
    assert made.returncode == 0, made.stderr
    assert "Paste" not in made.stdout
    shown = run(
        project,
        "-c",
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'mysite.settings'\n"
        "import mysite.asgi\n"
        "from django.test import Client\n"
        "print(Client(headers={'host': 'localhost'}).get('/').content.decode())",
    )
    assert 'src="/ws/counter/"' in shown.stdout, shown.stderr
    again = run(project, "manage.py", "startchat", "counter")
    assert again.returncode == 1
    assert "is there already" in again.stderr
    # Where a file is somebody's own by now, it says what to paste.
    asgi = project / "mysite" / "asgi.py"
    asgi.write_text(before[asgi].replace("get_asgi_application()", "(lambda: None)"))
    own = asgi.read_text()
    second = run(project, "manage.py", "startchat", "quiz")
    assert second.returncode == 0, second.stderr
    assert asgi.read_text() == own
    assert 'application = get_chat_application({"ws/quiz/": "bots.quiz.chat"})' in second.stdout
    assert 'path("quiz/"' in (project / "mysite" / "urls.py").read_text()


@pytest.mark.parametrize("module", ["urls", "mysite.urls", "mysite.web.urls"])
@pytest.mark.parametrize("is_package", [False, True])
def test_the_bot_is_where_the_project_is_imported_from(
    module: str,
    is_package: bool,
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """However deep the URLconf is: the bot was written beside it, or outside of the project."""
    root = tmp_path / "project"
    parts = module.split(".")
    for depth in range(1, len(parts)):
        package = root.joinpath(*parts[:depth])
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
    urls = (
        root.joinpath(*parts, "__init__.py")
        if is_package
        else root.joinpath(f"{'/'.join(parts)}.py")
    )
    urls.parent.mkdir(parents=True, exist_ok=True)
    urls.write_text("from django.urls import path\n\nurlpatterns = []\n")
    monkeypatch.syspath_prepend(str(root))
    settings.ROOT_URLCONF, settings.ASGI_APPLICATION = module, None
    try:
        call_command("startchat", "counter")
    finally:
        for name in [one for one in sys.modules if one.split(".")[0] == parts[0]]:
            del sys.modules[name]
    assert (root / "bots" / "counter.py").is_file()
    assert "bots.counter.chat" in urls.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["project"]
    asgi = ".".join([*parts[:-1], "asgi.application"])
    assert f'ASGI_APPLICATION = "{asgi}"' in capsys.readouterr().out


@pytest.mark.parametrize("name", ["my-bot", "class", "2nd"])
def test_a_name_that_cannot_be_a_modules(name: str) -> None:
    with pytest.raises(CommandError, match="cannot be a chat's name"):
        call_command("startchat", name)
    assert not (ROOT / "bots").exists()

"""The package as others get it: its public names, its wheel, its migrations."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from configparser import ConfigParser
from email import message_from_bytes
from email.message import Message
from itertools import chain
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db.migrations.loader import MigrationLoader
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import chatsessions
from tests.cli.command import Run
from tests.server.client import Client

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "chatsessions"
#: Names that need models, and so are imported at their first use.
LAZY = {
    "aassign_user",
    "abroadcast",
    "aemit_to",
    "aemit_to_user",
    "aend_session",
    "assign_user",
    "broadcast",
    "emit_to",
    "emit_to_user",
    "end_session",
    "http_session",
    "session_context",
}


def test_where_messages_are_markdown_the_admin_shows_it() -> None:
    """``chatsessions run``, the demo and new projects bring what that needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: set(wanted) for name, wanted in project["optional-dependencies"].items()}
    assert extras["markdown"] <= extras["run"] & extras["demo"]
    template = (PACKAGE / "cli" / "project_template" / "pyproject.toml").read_text()
    [ours] = tomllib.loads(template)["project"]["dependencies"]
    assert "markdown" in re.findall(r"\w+", ours)


def test_the_lock_has_all_that_is_asked_for() -> None:
    """The tests' environment is installed from the lock alone."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    locked: dict[str, set[str]] = {}
    for one in map(Requirement, lines):
        [pinned] = one.specifier
        locked.setdefault(canonicalize_name(one.name), set()).add(pinned.version)
    lacking = [
        text
        for text in wanted
        if not any(map(Requirement(text).specifier.contains, locked.get(name_of(text), set())))
    ]
    assert lacking == [], "run: make lock"


def name_of(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)


def python(code: str, *, cwd: Path) -> str:
    """What a fresh interpreter says, which has heard of no settings."""
    environment = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    environment["PYTHONPATH"] = str(ROOT)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


# Names


def test_the_public_names_can_be_imported() -> None:
    assert [name for name in chatsessions.__all__ if getattr(chatsessions, name) is None] == []


def test_public_names_are_listed_once_and_in_order() -> None:
    assert sorted(set(chatsessions.__all__)) == chatsessions.__all__


def test_all_that_the_module_imports_for_others_is_listed() -> None:
    ours = {
        name
        for name, value in vars(chatsessions).items()
        if not name.startswith("_")
        and getattr(value, "__module__", "").startswith("chatsessions.")
        and not isinstance(value, type(sys))
    }
    assert ours <= set(chatsessions.__all__)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'chatsessions' has no attribute 'no_such'"):
        chatsessions.no_such  # noqa: B018


def test_importing_and_declaring_a_chat_needs_neither_settings_nor_apps(tmp_path: Path) -> None:
    """Django imports it before they are ready, and bots are imported in whatever order."""
    names = sorted(set(chatsessions.__all__) - LAZY)
    said = python(
        f"from chatsessions import {', '.join(names)}\n"
        "import sys, chatsessions\n"
        "chat = chatsessions.Chat('counter')\n"
        "@chat.on_message\n"
        "async def handle(message): ...\n"
        "@chatsessions.on_chat_start\n"
        "async def start(): ...\n"
        "count = chatsessions.user_session.create_accessor('count', 0)\n"
        "from django.apps import apps; from django.conf import settings\n"
        "print(settings.configured, apps.ready, 'chatsessions.models' in sys.modules)\n"
        "print(*dir(chatsessions))\n",
        cwd=tmp_path,
    )
    ready, completed = said.splitlines()
    assert ready.split() == ["False", "False", "False"]
    # A shell completes the names that are imported late.
    assert set(completed.split()) >= LAZY


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chatsessions.__version__ == project["version"]


# The wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """
    The wheel as pip builds it, hatchling fetched from the package index.

    It is built once for all processes that run tests side by side.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # which they share
    folder /= "wheel"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not any(folder.glob("*.whl")):
            build_wheel(folder)
    [built] = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def build_wheel(folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--wheel-dir", str(folder), str(ROOT)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode and "No matching distribution found for hatchling" in result.stderr:
        if os.environ.get("CHATSESSIONS_REQUIRE_SERVICES") == "1":
            pytest.fail(result.stderr)
        pytest.skip("no package index to fetch hatchling from: the wheel is not tested")
    assert result.returncode == 0, result.stderr


@pytest.fixture
def content(wheel: zipfile.ZipFile) -> set[str]:
    return set(wheel.namelist())


@pytest.fixture
def metadata(wheel: zipfile.ZipFile) -> Message:
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_bytes(wheel.read(name))


def test_the_wheel_has_all_of_the_package_and_nothing_else(content: set[str]) -> None:
    """No test, no demo, no cache."""
    files = {path for path in PACKAGE.rglob("*") if path.is_file()}
    expected = {str(path.relative_to(ROOT)) for path in files if path.suffix != ".pyc"}
    assert {name for name in content if ".dist-info/" not in name} == expected
    some = {"py.typed", "migrations/0001_initial.py", "static/chatsessions/chat-session.js"}
    some.add("templates/admin/chatsessions/chatsession/change_form.html")
    assert {f"chatsessions/{name}" for name in some} <= content


def test_the_wheel_has_its_licence_and_says_what_it_needs(
    content: set[str], metadata: Message
) -> None:
    assert any(name.endswith("/LICENSE") for name in content)
    assert metadata["Name"] == "chatsessions"
    assert metadata["Version"] == chatsessions.__version__
    needed = {r for r in metadata.get_all("Requires-Dist", []) if "extra ==" not in r}
    names = {requirement.split(">")[0] for requirement in needed}
    assert names == {"django", "channels", "msgspec"}


def test_the_wheel_brings_the_command_under_the_packages_name(wheel: zipfile.ZipFile) -> None:
    """So that uvx and pipx find it."""
    [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/entry_points.txt")]
    found = ConfigParser()
    found.read_string(wheel.read(name).decode())
    assert dict(found["console_scripts"]) == {"chatsessions": "chatsessions.cli.main:main"}


@pytest.mark.slow
def test_a_wheel_of_the_sdist_is_the_same(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """The sdist is complete: what is not in the wheel, but is needed to build it, included."""
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    subprocess.run([*install, "--target", tmp_path / "tools", *needed], check=True)
    build = [sys.executable, "-m", "hatchling", "build", "-d", tmp_path]
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "tools")}
    subprocess.run([*build, "-t", "sdist"], cwd=ROOT, env=environment, check=True)
    [sdist] = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / sdist.name.removesuffix(".tar.gz")
    subprocess.run([*build, "-t", "wheel"], cwd=source, env=environment, check=True)
    [built] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(built) as other:
        assert set(other.namelist()) == set(wheel.namelist())
        different = [name for name in wheel.namelist() if other.read(name) != wheel.read(name)]
    assert different == []
    assert sdist.stat().st_size < 5_000_000, "nothing of node_modules, no built documentation"


def test_the_readme_of_an_indexs_page_links_to_nothing_that_is_not_there(metadata: Message) -> None:
    text = str(metadata.get_payload())
    assert "chatsessions run counter_bot.py -w" in text
    targets = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text)
    assert [one for pair in targets for one in pair if one and not one.startswith("http")] == []


@pytest.fixture
def installed(wheel: zipfile.ZipFile, tmp_path: Path) -> Path:
    """The commands of an environment that has what a new user installs, and no more."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    command = [sys.executable, "-m", "pip", "--python", environment / "bin" / "python"]
    command += ["--quiet", "--disable-pip-version-check", "install", "--no-compile"]
    command += ["-c", ROOT / "requirements.lock", f"{wheel.filename}[run]"]
    subprocess.run(command, check=True)
    return environment / "bin"


@pytest.mark.server
@pytest.mark.timeout(600)  # pip fetches what it needs
async def test_from_a_wheel_in_an_empty_environment_to_the_first_answer(
    installed: Path, tmp_path: Path
) -> None:
    """Two commands and one file: what a new user has."""
    folder = tmp_path / "bot"
    folder.mkdir()
    readme = (ROOT / "README.md").read_text()
    [source] = re.findall(r"```python\n# counter_bot.py\n(.*?)```", readme, re.DOTALL)
    (folder / "counter_bot.py").write_text(source)
    command = [installed / "chatsessions"]
    served = Run(folder, "counter_bot.py", env={"PYTHONPATH": ""}, program=command)
    try:
        served.start()
        script = re.search(r'src="(/static/[^"]+)"', served.get("/")[1])
        assert script is not None
        assert "chat-session" in served.get(script[1])[1]
        async with Client(served.socket("counter-bot"), served.origin) as tab:
            await tab.start()
            await tab.message("hello")
            await tab.said("You have sent 1 message(s)!")
    finally:
        served.discard()


# Migrations


def test_the_migrations_run_in_the_order_of_their_numbers() -> None:
    """Else ``makemigrations`` gives the next one a number that is taken."""
    loader = MigrationLoader(None)
    [last] = loader.graph.leaf_nodes("chatsessions")
    plan = [name for app, name in loader.graph.forwards_plan(last) if app == "chatsessions"]
    assert [int(name[:4]) for name in plan] == list(range(1, len(plan) + 1))


@pytest.mark.django_db
def test_the_migrations_are_up_to_date() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_a_projects_default_auto_field_makes_no_migration(tmp_path: Path) -> None:
    """Else ``makemigrations`` would write into the installed package."""
    said = python(
        "import django\n"
        "from django.conf import settings\n"
        "from django.core.management import call_command\n"
        "apps = ['auth', 'contenttypes', 'admin', 'messages', 'sessions']\n"
        "settings.configure(\n"
        "    SECRET_KEY='x',\n"
        "    DEFAULT_AUTO_FIELD='django.db.models.SmallAutoField',\n"
        "    INSTALLED_APPS=[*(f'django.contrib.{app}' for app in apps), 'channels',\n"
        "        'chatsessions'],\n"
        "    DATABASES={'default': {'ENGINE': 'django.db.backends.sqlite3',\n"
        "        'NAME': ':memory:'}},\n"
        ")\n"
        "django.setup()\n"
        "call_command('makemigrations', 'chatsessions', check=True, dry_run=True)\n",
        cwd=tmp_path,
    )
    assert "No changes detected" in said

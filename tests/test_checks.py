"""Each check fires on what it is for, names setting, value and remedy, and is silent otherwise."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator, OriginValidator
from django.conf import settings
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import CheckMessage, Error, Warning, run_checks  # noqa: A004
from django.db.backends.base.features import BaseDatabaseFeatures
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLiteWrapper
from django.test import override_settings
from django.urls import path

from chatsessions import checks
from chatsessions.cli.project import services
from chatsessions.consumers import ChatConsumer, SessionConsumer

ROOT = Path(__file__).resolve().parent.parent
BACKENDS = "django.core.cache.backends"
#: What the demo does with SQLite.
GOOD: dict[str, object] = services.sqlite(ROOT / "unused.sqlite3")["OPTIONS"]

# Django warns that a live connection would not notice; the checks read settings and open none.
pytestmark = pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")


def found(*, deploy: bool = False, **overrides: Any) -> list[CheckMessage]:
    with override_settings(**overrides):
        return run_checks(tags=["chatsessions"], include_deployment_checks=deploy, databases=[])


def ids(messages: list[CheckMessage]) -> list[str]:
    return sorted(str(message.id).removeprefix("chatsessions.") for message in messages)


def chatsessions(**values: object) -> dict[str, Any]:
    return {"CHATSESSIONS": values}


def cache(backend: str, *, store: str = "cached_db", **options: object) -> dict[str, Any]:
    return {
        "CACHES": {"default": {"BACKEND": f"{BACKENDS}.{backend}", "OPTIONS": options}},
        **chatsessions(USER_SESSION_STORE=store),
    }


def sqlite(*, name: object = "db.sqlite3", **options: object) -> dict[str, Any]:
    options = {key: value for key, value in {**GOOD, **options}.items() if value is not None}
    config = {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": options}
    return {"DATABASES": {"default": config}}


def databases(*names: str) -> dict[str, Any]:
    """An alias with a file of its own for each name."""
    return {"DATABASES": {name: sqlite(name=name)["DATABASES"]["default"] for name in names}}


CASES = [
    ("E001", {"CHATSESSIONS": ["CACHE"]}, "CHATSESSIONS is ['CACHE']", "CHATSESSIONS = {...}"),
    ("E001", {"CHATSESSIONS": None}, "CHATSESSIONS is None", "CHATSESSIONS = {...}"),
    ("E002", chatsessions(SESION_AGE=5), "'SESION_AGE'", "'SESSION_AGE'"),
    ("E003", chatsessions(KEEP="1 day"), "CHATSESSIONS['KEEP'] is '1 day'", "number of seconds"),
    (
        "E004",
        chatsessions(WORKER_STALE=10, WORKER_HEARTBEAT=5),
        "CHATSESSIONS['WORKER_STALE'] is 10 and WORKER_HEARTBEAT 5",
        "WORKER_STALE above 10",
    ),
    ("E005", chatsessions(CACHE="redis"), "CHATSESSIONS['CACHE'] is 'redis'", "'default'"),
    ("E006", chatsessions(DATABASE="chats"), "CHATSESSIONS['DATABASE'] is 'chats'", "'default'"),
    (
        "E015",
        chatsessions(DATABASE="chats") | databases("default", "chats"),
        "CHATSESSIONS['DATABASE'] is 'chats', and users are in the database 'default'",
        "'DATABASE': 'default'",
    ),
    (
        "E007",
        chatsessions(CACHE_TIMEOUT=60, USER_SESSION_STORE="cache"),
        "CHATSESSIONS['CACHE_TIMEOUT'] is 60, below SESSION_AGE (3600)",
        "at least 3600",
    ),
    (
        "W001",
        chatsessions(SESSION_AGE=9000),
        "CHATSESSIONS['CACHE_TIMEOUT'] is 7200, below SESSION_AGE (9000)",
        "at least 9000",
    ),
    (
        "E008",
        cache("dummy.DummyCache", store="cache"),
        "CACHES['default'] is DummyCache",
        "RedisCache",
    ),
    ("W002", cache("dummy.DummyCache"), "CACHES['default'] is DummyCache", "RedisCache"),
    (
        "W003",
        cache("filebased.FileBasedCache", MAX_ENTRIES=9_999),
        "['MAX_ENTRIES'] is 9999",
        "'MAX_ENTRIES': 100_000",
    ),
    (
        "W004",
        cache("db.DatabaseCache", MAX_ENTRIES=10_000),
        "CACHES['default'] is DatabaseCache",
        "RedisCache",
    ),
    (
        "W005",
        chatsessions(MAX_FRAME_BYTES=1024 * 1024 + 1),
        "CHATSESSIONS['MAX_FRAME_BYTES'] is 1048577, but daphne lets 1048576",
        "DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE",
    ),
    (
        "W005",
        {"DAPHNE_WEBSOCKET_MAX_FRAME_SIZE": 1000},
        "CHATSESSIONS['MAX_FRAME_BYTES'] is 262144, but daphne lets 1000",
        "at most 1000",
    ),
    (
        "W007",
        sqlite(init_command="PRAGMA journal_mode=DELETE; -- not WAL"),
        "is 'PRAGMA journal_mode=DELETE; -- not WAL'",
        "Leave journal_mode out",
    ),
    (
        "E009",
        {"INSTALLED_APPS": ["chatsessions"]},
        "INSTALLED_APPS is without 'django.contrib.auth'",
        "django.contrib.contenttypes",
    ),
    ("E010", chatsessions(STORAGE="s3"), "CHATSESSIONS['STORAGE'] is 's3'", "'default'"),
    ("W016", {"MEDIA_ROOT": ""}, "MEDIA_ROOT is empty", "'location': BASE_DIR"),
    (
        "W011",
        {"USE_TZ": False, "TIME_ZONE": "Europe/Berlin"},
        "USE_TZ is False and TIME_ZONE 'Europe/Berlin'",
        "USE_TZ = True",
    ),
]

SILENT = [
    pytest.param({"CHATSESSIONS": {}}, id="the defaults"),
    pytest.param(chatsessions(WORKER_STALE=10.1), id="stale after just over two heartbeats"),
    pytest.param(chatsessions(CACHE_TIMEOUT=3600), id="cache timeout as long as a session"),
    pytest.param(chatsessions(MAX_FRAME_BYTES=1024 * 1024), id="a frame of daphne's limit"),
    pytest.param(
        {
            "DAPHNE_WEBSOCKET_MAX_MESSAGE_SIZE": 0,
            "DAPHNE_WEBSOCKET_MAX_FRAME_SIZE": 0,
            **chatsessions(MAX_FRAME_BYTES=2**24),
        },
        id="daphne without limits",
    ),
    pytest.param(cache("locmem.LocMemCache", MAX_ENTRIES=10_000), id="a cache with room"),
    pytest.param(cache("redis.RedisCache"), id="a cache that does not cull"),
    pytest.param(
        {"CACHES": {"default": {"BACKEND": "no.such.Cache"}}}, id="a cache that Django refuses"
    ),
    pytest.param(
        {"DATABASES": {"default": {"ENGINE": "no.such.engine"}}}, id="an engine Django refuses"
    ),
    pytest.param(
        sqlite(name=":memory:", init_command=None, transaction_mode=None), id="SQLite in memory"
    ),
    pytest.param(
        sqlite(name="file:a?mode=memory&cache=shared", init_command=None, transaction_mode=None),
        id="SQLite in shared memory",
    ),
    pytest.param(
        sqlite(init_command="pragma journal_mode('wal')", transaction_mode="exclusive"),
        id="other spellings of WAL and IMMEDIATE",
    ),
    pytest.param({"MEDIA_ROOT": "", "ROOT_URLCONF": __name__}, id="a project without uploads"),
    pytest.param({"MEDIA_ROOT": "", "ROOT_URLCONF": "no.such"}, id="routes that Django refuses"),
    pytest.param({"MEDIA_URL": "/media/"}, id="served files outside --deploy"),
    pytest.param({"USE_TZ": False, "TIME_ZONE": "UTC"}, id="naive times without summer time"),
    pytest.param({"USE_TZ": False, "TIME_ZONE": None}, id="naive times of the host"),
    pytest.param({"ASGI_APPLICATION": "no.such.application"}, id="no import outside --deploy"),
]


@pytest.mark.parametrize(("number", "overrides", "says", "hints"), CASES)
def test_a_check_names_setting_value_and_remedy(
    number: str, overrides: dict[str, Any], says: str, hints: str
) -> None:
    messages = found(**overrides)
    assert ids(messages) == [number]
    assert says in messages[0].msg
    assert hints in str(messages[0].hint)
    assert type(messages[0]) is (Error if number.startswith("E") else Warning)


@pytest.mark.parametrize("overrides", SILENT)
def test_silent(overrides: dict[str, Any]) -> None:
    assert found(**overrides) == []


def command(folder: Path, *options: str, **env: str) -> tuple[list[str], str]:
    """What ``manage.py check`` finds in the demo, and all that it says."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "demo_project.settings"}
    result = subprocess.run(
        [sys.executable, "manage.py", "check", "--tag", "chatsessions", *options],
        cwd=ROOT,
        env=environment | {"DEMO_DATA": str(folder)} | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    said = result.stdout + result.stderr
    assert "Traceback" not in said, said
    return [part.split(")")[0] for part in said.split("(chatsessions.")[1:]], said


@pytest.mark.parametrize("options", [(), ("--deploy",)])
def test_the_demo_is_silent(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert "no issues" in command(tmp_path, "--fail-level", "DEBUG", *options)[1]


def test_every_id_is_in_the_documented_table() -> None:
    sources = [file.read_text() for file in Path(str(checks.__file__)).parent.glob("*.py")]
    used = {number for source in sources for number in re.findall(r'"([EW]\d{3})"', source)}
    assert used == set(re.findall(r"``([EW]\d{3})``", str(checks.__doc__)))


# The settings' own dict


def test_another_alias_of_the_database_that_users_are_in_is_fine() -> None:
    two = sqlite()["DATABASES"]
    assert found(DATABASES=two | {"chats": two["default"]}, **chatsessions(DATABASE="chats")) == []


def test_every_problem_is_told_at_once() -> None:
    assert ids(found(CHATSESSIONS={"KEEP": None, "CACHE": 1, "NO": 1})) == ["E002", "E003", "E003"]


def test_an_ill_typed_setting_leaves_the_other_checks_running() -> None:
    overrides = {
        **sqlite(init_command="PRAGMA journal_mode=DELETE;"),
        **chatsessions(CACHE=1, WORKER_STALE="15"),
    }
    assert ids(found(**overrides)) == ["E003", "E003", "W007"]


def test_without_a_dict_what_does_not_rest_on_it_is_still_checked() -> None:
    assert ids(found(CHATSESSIONS=3, INSTALLED_APPS=["chatsessions"])) == ["E001", "E009"]


def test_no_setting_at_all_is_fine() -> None:
    with override_settings():
        del settings.CHATSESSIONS
        assert found() == []


# Files


urlpatterns: list[Any] = []  # of a project that takes no files


def test_files_that_a_web_server_may_serve_to_anybody() -> None:
    (message,) = found(deploy=True, MEDIA_URL="/media/")
    assert ids([message]) == ["W017"]
    assert "MEDIA_URL is '/media/'" in message.msg
    other = {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    other["OPTIONS"] = {"location": "elsewhere"}  # type: ignore[assignment]
    storages = settings.STORAGES | {"chats": other}
    private = chatsessions(STORAGE="chats")
    assert found(deploy=True, MEDIA_URL="/media/", STORAGES=storages, **private) == []


# Caches and databases by other aliases


def test_the_cache_that_is_named_is_the_one_looked_at() -> None:
    caches = {**settings.CACHES, "chats": {"BACKEND": f"{BACKENDS}.dummy.DummyCache"}}
    assert found(CACHES=caches) == []
    (message,) = found(CACHES=caches, **chatsessions(CACHE="chats"))
    assert "CACHES['chats'] is DummyCache" in message.msg


def test_the_database_that_is_named_is_the_one_looked_at() -> None:
    off = sqlite(init_command="PRAGMA journal_mode=DELETE;")["DATABASES"]["default"]
    both = {**sqlite()["DATABASES"], "chats": off}
    assert found(DATABASES=both) == []
    (message,) = found(DATABASES=both, **chatsessions(DATABASE="chats"))
    assert "DATABASES['chats']" in message.msg


def test_a_cache_of_ones_own_is_known_by_its_base() -> None:
    from_here = {"default": {"BACKEND": f"{__name__}.SmallCache"}}
    (message,) = found(CACHES=from_here)
    assert "SmallCache throws user sessions away" in message.msg


class SmallCache(LocMemCache):
    pass


class NoPartialIndexes(BaseDatabaseFeatures):
    supports_partial_indexes = False


class StandInWrapper(SQLiteWrapper):
    vendor = "mysql"
    display_name = "MySQL"
    features_class = NoPartialIndexes


def test_a_database_without_partial_unique_constraints(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in: Django's own MySQL backend cannot be imported without its driver."""
    base = ModuleType("mysql_stand_in.base")
    base.DatabaseWrapper = StandInWrapper  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mysql_stand_in", ModuleType("mysql_stand_in"))
    monkeypatch.setitem(sys.modules, "mysql_stand_in.base", base)
    (message,) = found(DATABASES={"default": {"ENGINE": "mysql_stand_in"}})
    assert ids([message]) == ["W009"]
    assert "DATABASES['default']['ENGINE'] is 'mysql_stand_in': MySQL has" in message.msg
    assert "PostgreSQL" in str(message.hint)


# The project around it


@pytest.mark.parametrize(
    ("version", "expected"),
    [("4.1.0", ["W010"]), ("4.2", ["W010"]), ("4.2.2", []), ("4.10.0", []), ("5", [])],
)
def test_daphne_that_bounds_no_message(
    version: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / f"daphne-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: daphne\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path)
    messages = found()
    assert ids(messages) == expected
    for message in messages:
        assert f"daphne {version} is installed" in message.msg
        assert "daphne>=4.2.2" in str(message.hint)


def test_without_daphne_nobody_speaks_of_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = [entry for entry in sys.path if "site-packages" not in entry]
    monkeypatch.setattr(sys, "path", elsewhere)
    assert found(**chatsessions(MAX_FRAME_BYTES=2**24)) == []


# Deployment


def deployed(application: object, monkeypatch: pytest.MonkeyPatch) -> list[CheckMessage]:
    monkeypatch.setattr(sys.modules[__name__], "application", application, raising=False)
    return found(deploy=True, ASGI_APPLICATION=f"{__name__}.application")


def routed(consumer: Any, route: str = "ws/chat/") -> Any:
    return URLRouter([path(route, consumer)])


class MyConsumer(SessionConsumer):
    pass


class Wrapper:
    """Middleware as others write it."""

    def __init__(self, app: object) -> None:
        self.app = app


@pytest.mark.parametrize("application", [None, ""])
def test_no_asgi_application_is_nothing_to_look_at(application: str | None) -> None:
    assert found(deploy=True, ASGI_APPLICATION=application) == []


@pytest.mark.parametrize(
    ("application", "error"),
    [
        ("broken_asgi.application", "RuntimeError: no such secret"),
        ("no_such_module.application", "ModuleNotFoundError"),
        (f"{__name__}.no_such_name", "ImportError"),
        (7, "AttributeError"),
    ],
)
def test_an_asgi_application_that_cannot_be_imported_is_named(
    application: object, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_asgi.py").write_text("raise RuntimeError('no such secret')\n")
    monkeypatch.syspath_prepend(tmp_path)
    (message,) = found(deploy=True, ASGI_APPLICATION=application)
    assert ids([message]) == ["W013"]
    assert f"ASGI_APPLICATION is {application!r}" in message.msg
    assert error in message.msg
    assert "importable" in str(message.hint)


def test_a_guarded_consumer_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    consumers = AuthMiddlewareStack(routed(MyConsumer.as_asgi()))
    guarded = AllowedHostsOriginValidator(consumers)
    application = ProtocolTypeRouter({"http": object(), "websocket": guarded})
    assert deployed(application, monkeypatch) == []


def test_guards_may_stand_in_either_order(monkeypatch: pytest.MonkeyPatch) -> None:
    validated = OriginValidator(routed(MyConsumer.as_asgi()), ["https://example.com"])
    application = ProtocolTypeRouter({"websocket": AuthMiddlewareStack(validated)})
    assert deployed(application, monkeypatch) == []


def test_no_origin_validator(monkeypatch: pytest.MonkeyPatch) -> None:
    application = ProtocolTypeRouter(
        {"websocket": AuthMiddlewareStack(routed(MyConsumer.as_asgi()))}
    )
    (message,) = deployed(application, monkeypatch)
    assert ids([message]) == ["W014"]
    assert f"ASGI_APPLICATION '{__name__}.application' leads to MyConsumer" in message.msg
    assert "'ws/chat/' through no OriginValidator" in message.msg
    assert "AllowedHostsOriginValidator" in str(message.hint)


def test_an_origin_validator_that_allows_every_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    with override_settings(ALLOWED_HOSTS=["*"]):
        guarded = AllowedHostsOriginValidator(AuthMiddlewareStack(routed(MyConsumer.as_asgi())))
    (message,) = deployed(ProtocolTypeRouter({"websocket": guarded}), monkeypatch)
    assert ids([message]) == ["W014"]
    assert "an OriginValidator that allows '*'" in message.msg
    assert "ALLOWED_HOSTS without '*'" in str(message.hint)


def test_no_auth_middleware(monkeypatch: pytest.MonkeyPatch) -> None:
    guarded = AllowedHostsOriginValidator(routed(MyConsumer.as_asgi()))
    (message,) = deployed(ProtocolTypeRouter({"websocket": guarded}), monkeypatch)
    assert ids([message]) == ["W015"]
    assert "MyConsumer at 'ws/chat/' through no AuthMiddleware" in message.msg
    assert "AuthMiddlewareStack" in str(message.hint)


def test_each_consumer_is_looked_at_by_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = routed(ChatConsumer.as_asgi(chat="demo_project.bots.counter.chat"), "counter/")
    routes = [
        path("ws/", inner),
        path("open/", MyConsumer.as_asgi()),
        path("in/", AuthMiddlewareStack(MyConsumer.as_asgi())),
    ]
    guarded = AllowedHostsOriginValidator(URLRouter(routes))
    messages = deployed(Wrapper(ProtocolTypeRouter({"websocket": guarded})), monkeypatch)
    assert ids(messages) == ["W015", "W015"]
    assert "ChatConsumer at 'ws/counter/'" in messages[0].msg
    assert "MyConsumer at 'open/'" in messages[1].msg


def test_other_consumers_are_the_projects_own_affair(monkeypatch: pytest.MonkeyPatch) -> None:
    application = ProtocolTypeRouter({"websocket": routed(AsyncWebsocketConsumer.as_asgi())})
    assert deployed(application, monkeypatch) == []


def test_middleware_in_a_circle_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    circle = Wrapper(None)
    circle.app = Wrapper(circle)
    assert deployed(circle, monkeypatch) == []


def test_a_project_without_our_consumers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "chatsessions.consumers")
    assert deployed(routed(AsyncWebsocketConsumer.as_asgi()), monkeypatch) == []


# runserver


def test_w024_djangos_own_runserver(monkeypatch: pytest.MonkeyPatch) -> None:
    for app, expected in (
        ("django.core", ["W024"]),
        ("django.contrib.staticfiles", ["W024"]),
        ("daphne", []),
    ):
        commands = {"runserver": app}
        monkeypatch.setattr(
            "chatsessions.checks.project.get_commands", lambda known=commands: known
        )
        assert ids(found(DEBUG=True)) == expected
        assert ids(found(DEBUG=False)) == []
        assert ids(found(DEBUG=True, ASGI_APPLICATION=None)) == []

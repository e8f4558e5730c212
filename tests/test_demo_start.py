"""The demo's start: where its services are, what it says when they are not, and who logs in."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from chatsessions.cli.project.services import LAYERS, postgres, redis_cache, redis_layer

from .support.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "hunter2"


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "127.0.0.1:5432/chat",
        f"mysql://chat:{PASSWORD}@127.0.0.1/chat",
        f"postgresql://chat:{PASSWORD}@127.0.0.1:port/chat",
        f"postgresql://chat:{PASSWORD}@127.0.0.1:0/chat",
        f"postgresql://chat:{PASSWORD}[@127.0.0.1/chat",
    ],
)
def test_what_is_no_url_of_postgresql_is_said_in_words(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="DATABASE_URL is no URL of PostgreSQL") as error:
        postgres(url)
    assert "postgresql://user:password@127.0.0.1:5432/name" in str(error.value)
    assert PASSWORD not in str(error.value)


def test_a_database_without_a_name() -> None:
    with pytest.raises(ImproperlyConfigured, match="names no database") as error:
        postgres(f"postgresql://chat:{PASSWORD}@127.0.0.1")
    assert PASSWORD not in str(error.value)


def test_a_url_of_postgresql() -> None:
    config = postgres("postgres://chat:p%2Fw@db.internal:6543/chats?sslmode=require")
    assert (config["ENGINE"], config["HOST"], config["PORT"]) == (
        "django.db.backends.postgresql",
        "db.internal",
        6543,
    )
    assert (config["USER"], config["PASSWORD"], config["NAME"]) == ("chat", "p/w", "chats")
    assert config["OPTIONS"] == {"connect_timeout": 5, "sslmode": "require"}


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "127.0.0.1:6379",
        "redis://",
        f"redis://:{PASSWORD}@127.0.0.1:port/0",
        f"redis://:{PASSWORD}@127.0.0.1/chats",
        f"http://:{PASSWORD}@127.0.0.1/0",
    ],
)
def test_what_is_no_url_of_redis_is_said_in_words(url: str) -> None:
    for make in (of_redis, lambda url: redis_cache(url, "demo")):
        with pytest.raises(ImproperlyConfigured, match="REDIS_URL is no URL of Redis") as error:
            make(url)
        assert "redis://127.0.0.1:6379/0" in str(error.value)
        assert PASSWORD not in str(error.value)


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1", "rediss://:pw@redis.internal:6380/3", "unix:///run/redis.sock"]
)
def test_a_url_of_redis(url: str) -> None:
    assert redis_cache(url, "demo")["LOCATION"] == url
    for kind, backend in LAYERS.items():
        layer = redis_layer(url, "demo", kind)
        host = {"address": url, "socket_timeout": 10} if kind == "core" else url
        assert layer == {"BACKEND": backend, "CONFIG": {"hosts": [host], "prefix": "demo"}}


async def test_layers_that_are_idle_go_on_receiving(redis_url: str) -> None:
    """With redis-py 8 the core layer's receiving broke off after five seconds."""
    layers, received = {}, {}
    for kind in LAYERS:
        made = redis_layer(redis_url, uuid4().hex, kind)
        layers[kind] = layer = import_string(made["BACKEND"])(**made["CONFIG"])
        channel = await layer.new_channel()
        received[channel] = asyncio.create_task(layer.receive(channel))
    await asyncio.wait(received.values(), timeout=6)
    for layer, (channel, message) in zip(layers.values(), received.items(), strict=True):
        await layer.send(channel, {"type": "late"})
        assert await message == {"type": "late"}
    await layers["core"].close_pools()
    await layers["pubsub"].flush()


def test_there_are_two_layers_to_choose_from() -> None:
    with pytest.raises(ImproperlyConfigured, match="CHANNEL_LAYER is 'memory'") as error:
        redis_layer("redis://127.0.0.1", "demo", "memory")
    assert "pubsub, core" in str(error.value)


def of_redis(url: str) -> dict[str, Any]:
    return redis_layer(url, "demo", "pubsub")


@pytest.mark.parametrize(
    ("config", "variable", "module", "package", "extra"),
    [
        (postgres, "DATABASE_URL", "psycopg", "psycopg[binary]", "postgres"),
        (postgres, "DATABASE_URL", "dj_database_url", "dj-database-url", "postgres"),
        (of_redis, "REDIS_URL", "channels_redis", "channels-redis", "redis"),
    ],
)
def test_a_driver_that_is_missing(
    config: Callable[[str], dict[str, Any]],
    variable: str,
    module: str,
    package: str,
    extra: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImproperlyConfigured) as error:
        config("postgresql://127.0.0.1/chat" if config is postgres else "redis://127.0.0.1")
    assert f"{variable} is set, and {package} is not installed" in str(error.value)
    assert f"pip install 'chatsessions[{extra}]'" in str(error.value)


# The process as it is started


def start(folder: Path, *options: str, **env: str) -> str:
    """What ``python -m demo_project`` says on its standard error before it gives up."""
    environment = {k: v for k, v in os.environ.items() if k not in ("DATABASE_URL", "REDIS_URL")}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    result = subprocess.run(
        [sys.executable, "-m", "demo_project", *options],
        cwd=ROOT,
        env=environment | {"DEMO_DATA": str(folder)} | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert PASSWORD not in result.stdout + result.stderr
    return result.stderr


def test_a_postgresql_that_is_not_there(tmp_path: Path) -> None:
    url = f"postgresql://chat:{PASSWORD}@127.0.0.1:{free_port()}/chats"
    said = start(tmp_path, "--prepare", DATABASE_URL=url)
    assert said.startswith("PostgreSQL does not let the demo in: ")
    assert "createuser chat; createdb chats" in said


def test_a_redis_that_is_not_there(tmp_path: Path) -> None:
    url = f"redis://:{PASSWORD}@127.0.0.1:{free_port()}/0"
    said = start(tmp_path, "--prepare", REDIS_URL=url)
    assert said.startswith("Redis does not answer: ")
    assert "unset REDIS_URL" in said


def test_a_malformed_url_at_the_start(tmp_path: Path) -> None:
    said = start(tmp_path, DATABASE_URL=f"postgresql://chat:{PASSWORD}@127.0.0.1:port/x")
    assert said.startswith("DATABASE_URL is no URL of PostgreSQL.")

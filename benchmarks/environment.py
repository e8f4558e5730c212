"""What the figures depend on: versions, cores, load, and how much was measured."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version

from .plan import FULL, Plan
from .process import Cores

PACKAGES = (
    "Django",
    "channels",
    "daphne",
    "uvicorn",
    "uvloop",
    "httptools",
    "websockets",
    "msgspec",
    "psycopg",
    "redis",
    "channels-redis",
)
SERVICES = {"PostgreSQL": "postgres", "Redis": "redis-server"}


def facts(plan: Plan, cores: Cores) -> dict[str, str]:
    where = (
        "server and client not pinned"
        if cores.server is None
        else f"server on core {cores.server}, client on {cores.client}, "
        f"services on {cores.services}"
    )
    return {
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
        "services": ", ".join(_service(name, command) for name, command in SERVICES.items()),
        "machine": f"{platform.system()} {platform.machine()}, {cores.count} cores; {where}",
        "load before": _load(),
        "plan": f"{'full' if plan == FULL else 'quick, shorter and with fewer rows'}: "
        f"{plan.rounds} rounds of {plan.closed_seconds:g} s in a closed loop, of "
        f"{plan.paced_seconds:g} s at {plan.rate:g} messages/s",
    }


def after() -> dict[str, str]:
    return {"load after": _load()}


def _load() -> str:
    """Return the load averages. Above 0 before the run, other processes use the machine."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _service(name: str, command: str) -> str:
    """Return the name and version: the first word of ``--version`` that begins with a digit."""
    if shutil.which(command) is None:
        return f"{name} not in PATH"
    said = subprocess.run([command, "--version"], capture_output=True, text=True).stdout
    words = (word.removeprefix("v=") for word in said.split())
    return f"{name} {next((word for word in words if word[:1].isdigit()), '?')}"

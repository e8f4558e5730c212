"""What the page shows of nginx and systemd is what they take."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from django.core.files.storage import storages

from chatsessions.conf import Settings, settings
from tests import services

from .nginx import SITE, Nginx
from .page import BIN, PAGE, commands, files

UNIT = "/etc/systemd/system/chat@.service"


def test_nginx_takes_its_configuration(tmp_path: Path) -> None:
    said = Nginx(tmp_path / "nginx", [8001, 8002]).check()
    assert "syntax is ok" in said
    assert "[warn]" not in said


def test_nginx_waits_for_longer_than_a_worker_does() -> None:
    """The worker closes a silent line with a code that says why; nginx just cuts it."""
    site = files("nginx")[SITE]
    for limit in ("proxy_read_timeout", "proxy_send_timeout"):
        seconds = float(site.split(f"{limit} ")[1].split("s;")[0])
        assert seconds > max(75, 2.5 * Settings.HEARTBEAT.default)  # type: ignore[attr-defined]


def test_nginx_lets_every_file_through_that_a_worker_takes() -> None:
    megabytes = int(files("nginx")[SITE].split("client_max_body_size ")[1].split("m;")[0])
    assert megabytes * 2**20 > settings.MAX_FILE_BYTES
    assert storages[settings.STORAGE] is not None


def test_systemd_takes_every_unit(tmp_path: Path) -> None:
    services.need("systemd-analyze")
    units = files("ini")
    assert len(units) == 3
    paths = []
    for name, unit in units.items():
        path = tmp_path / Path(name).name.replace("@.", "@8001.")
        path.write_text(unit.replace("/srv/mysite/.venv/bin", str(BIN)))
        paths.append(path)
    result = subprocess.run(
        ["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False
    )
    # Of others that are installed here it may complain.
    complaints = [line for line in result.stderr.splitlines() if str(tmp_path) in line]
    assert complaints == []
    assert result.returncode == 0, result.stderr


def test_systemd_waits_for_as_long_as_a_stop_may_take() -> None:
    limit = float(files("ini")[UNIT].split("TimeoutStopSec=")[1].split("\n")[0])
    for_requests = 5  # --timeout-graceful-shutdown
    for_lifespans = 2 * settings.LIFESPAN_TIMEOUT
    ours = settings.SHUTDOWN_TIMEOUT + settings.STORE_TIMEOUT + 2 + for_lifespans
    assert limit > ours + for_requests


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_a_server_is_started_alike_everywhere(server: str) -> None:
    """By systemd, and by hand."""
    text = PAGE.read_text()
    [unit] = [
        line for line in text.splitlines() if line.startswith("ExecStart=") and server in line
    ]
    [typed] = [line for line in commands("The demo on many processes") if f"/{server} " in line]
    port = "8001" if server == "daphne" else "8002"
    by_systemd = unit.split(f"bin/{server} ")[1].replace("%i", port)
    assert by_systemd.replace("mysite", "demo_project") == typed.split(f"bin/{server} ")[1]

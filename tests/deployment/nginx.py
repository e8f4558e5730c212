"""nginx with the configuration of the page, on private ports and in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import services
from tests.support.ports import free_port

from .page import block, files
from .processes import Process

SITE = "/etc/nginx/sites-available/chat"
FIRST_LOCATION = "    location /static/"
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Nginx:
    """
    Listens on ``port``, and hands on to the ports of ``workers``.

    ``below_a_path`` has the locations of that section in place of the first ones.
    """

    def __init__(
        self,
        folder: Path,
        workers: Sequence[int],
        *,
        static: Path | None = None,
        below_a_path: bool = False,
        prefix_stays: bool = False,
    ) -> None:
        self.port = free_port()
        self._folder = folder
        self._folder.mkdir()
        site = files("nginx")[SITE]
        if below_a_path:
            locations = block("nginx", "Below a path")
            if prefix_stays:
                locations = _replaced(
                    locations, {"proxy_pass http://chat/;": "proxy_pass http://chat;"}
                )
            site = f"{site[: site.index(FIRST_LOCATION)]}{locations}}}\n"
        # Ports and paths are the reader's to choose; the rest is as it is written.
        places = {
            r"listen 80;": f"listen 127.0.0.1:{self.port};",
            r"alias /srv/mysite/static/;": f"alias {static or folder}/;",
            **{rf"127\.0\.0\.1:800{i}": f"127.0.0.1:{p}" for i, p in enumerate(workers, 1)},
        }
        (folder / "site.conf").write_text(_replaced(site, places))
        (folder / "nginx.conf").write_text(self._main())

    def _main(self) -> str:
        paths = "".join(f"{name}_temp_path {self._folder}/{name};\n" for name in TEMPORARY)
        return (
            # Else its workers could not look into the folder of a test.
            f"{'user root;' if os.geteuid() == 0 else ''}\n"
            f"daemon off;\npid {self._folder}/pid;\nerror_log {self._folder}/error.log;\n"
            "worker_processes 2;\nevents { worker_connections 512; }\n"
            "http {\n"
            f"access_log off;\ninclude /etc/nginx/mime.types;\n{paths}"
            f"include {self._folder}/site.conf;\n"
            "}\n"
        )

    def check(self) -> str:
        """What ``nginx -t`` says of the configuration. Raises if it is wrong."""
        result = subprocess.run(
            [*self._command(), "-t"], capture_output=True, text=True, timeout=30, check=False
        )
        assert result.returncode == 0, result.stderr
        return result.stderr

    @contextmanager
    def running(self) -> Iterator[None]:
        process = Process(self._command(), port=self.port, log=self._folder / "output.log")
        try:
            process.start()
            yield
        finally:
            process.discard()

    def log(self) -> str:
        return (self._folder / "error.log").read_text()

    def _command(self) -> list[Any]:
        services.need("nginx")
        log = self._folder / "error.log"
        return [services.find("nginx"), "-p", self._folder, "-e", log, "-c", "nginx.conf"]


def _replaced(text: str, places: Mapping[str, str]) -> str:
    for place, value in places.items():
        text, count = re.subn(place, value, text)
        assert count == 1, f"{place} is {count} times in the page's configuration of nginx"
    return text

"""Sites that serve files, and a bucket: at another origin, each file behind a signature."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from django.contrib.staticfiles.storage import ManifestStaticFilesStorage


class SignedManifestStorage(ManifestStaticFilesStorage):
    """A manifest on S3: no address leads to another file than its own."""

    def url(self, name: str | None, force: bool = False) -> str:
        address = super().url(name, force)
        return f"{address}?Signature={signature(urlsplit(address).path)}"


def signature(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class Bucket(Quiet):
    """Gives what was signed, to pages of any origin."""

    extensions_map = {".js": "text/javascript", ".css": "text/css"}  # noqa: RUF012

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if address.query == f"Signature={signature(address.path)}":
            super().do_GET()
        else:
            self.send_error(403)

    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()


@contextmanager
def serving(folder: Path, handler: type[Quiet] = Quiet) -> Iterator[int]:
    """A server of the files in a folder; its port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""
What the page costs the browser's main thread: ``python -m benchmarks.page``.

A server made for it sends the frames of ``chatsessions.v1`` at a pace of its own, and Chromium
shows them in a ``<chat-session>``. Times of the main thread are its CPU time, which a busy machine
changes little; frames are measured by the clock.
"""

from __future__ import annotations

import argparse
import json
import mimetypes
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from pathlib import Path
from time import monotonic, sleep
from typing import Any, cast

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

PROTOCOL = cast(Subprotocol, "chatsessions.v1")
STATIC = Path(__file__).parent.parent / "chatsessions" / "static" / "chatsessions"
PAGE = """<!doctype html><meta charset="utf-8"><title>Benchmark</title>
<body style="margin: 0"><chat-session src="/ws/{load}/" style="--chat-height: 100vh"></chat-session>
<script type="module" src="/chat-session.js"></script>"""

#: Frames per second of a live load. No model writes as fast, but a tab that was away gets more.
PACE = 1000
#: Frames in a message of a replay.
BUNDLE = 100
WORDS = [
    "The",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "the",
    "lazy",
    "dog",
    "while",
    "it",
    "rains.",
    "",
]
#: Seconds until the page must have shown the last frame.
PATIENCE = 300.0

FRAMES = """
() => {
  window.frames_ = [];
  let last = performance.now();
  const frame = (now) => { frames_.push(now - last); last = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
}
"""
#: Waits until the page has painted the text of the last frame.
SHOWN = """
(text) => new Promise((resolve) => {
  const root = document.querySelector("chat-session").shadowRoot;
  const look = () => {
    const all = root.querySelectorAll("[part=content]");
    const last = all[all.length - 1];
    if (last?.textContent.endsWith(text)) requestAnimationFrame(() => setTimeout(resolve));
    else setTimeout(look, 100);
  };
  look();
})
"""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The cost of a load: CPU seconds of the main thread, and milliseconds of a frame."""

    task: float
    script: float
    layout: float
    style: float
    p95_frame: float
    nodes: int


def stream(count: int) -> Iterator[dict[str, Any]]:
    """Yield the frames of one streamed message of ``count`` tokens."""
    pieces = [f"{WORDS[index % len(WORDS)]} " for index in range(count - 1)] + ["END"]
    yield event(1, "message", id="m", content="", streaming=True)
    for index, piece in enumerate(pieces):
        yield {"type": "token", "message": "m", "index": index, "text": piece}
    yield event(2, "message_update", id="m", content="".join(pieces))


def messages(count: int) -> Iterator[dict[str, Any]]:
    for number in range(1, count + 1):
        text = " ".join(WORDS * (1 + number % 4))
        yield event(number, "message", id=f"m{number}", content=text if number < count else "END")


def event(seq: int, name: str, **data: Any) -> dict[str, Any]:
    data |= {"author": "Bot", "created_at": "2026-01-01T12:00:00+00:00"}
    return {"type": "event", "seq": seq, "name": name, "data": data, "turn": 1}


LOADS = {
    "stream": ("a stream of {} tokens", stream, 20_000, True),
    "live": ("{} live messages", messages, 5_000, True),
    "replay": ("a replay of {} messages", messages, 5_000, False),
}


def handle(socket: ServerConnection) -> None:
    """Greet, and send the load that the path names."""
    socket.recv()
    _, _, path = (socket.request.path if socket.request else "").partition("/ws/")
    name, _, count = path.strip("/").partition("-")
    _, make, _, live = LOADS[name]
    frames = list(make(int(count)))
    welcome = {"type": "welcome", "session": "5f0c4f0e-0000-4000-8000-000000000000", "token": "t"}
    welcome |= {"resumed": False, "reason": "new", "received": 0, "first": 1, "turn": None}
    welcome |= {"head": 0 if live else len(frames), "heartbeat": 25, "max_frame": 262144}
    socket.send(json.dumps(welcome))
    if live:
        begun = monotonic()
        for number, frame in enumerate(frames):
            sleep(max(0.0, begun + number / PACE - monotonic()))
            socket.send(json.dumps(frame))
    else:
        rest = iter(frames)
        while bundle := list(islice(rest, BUNDLE)):
            socket.send(json.dumps(bundle))
    for _ in socket:
        pass  # read the acks of the page until it closes the connection


def files(connection: ServerConnection, request: Request) -> Response | None:
    """Answer requests for files; None lets the handshake of a websocket go on."""
    path = request.path
    if path.startswith("/ws/"):
        return None
    if path.startswith("/page/"):
        body, kind = PAGE.format(load=path.removeprefix("/page/")).encode(), "text/html"
    elif (STATIC / path[1:]).is_file():
        body, kind = (STATIC / path[1:]).read_bytes(), mimetypes.guess_type(path)[0] or ""
    else:
        return connection.respond(HTTPStatus.NOT_FOUND, "")
    headers = Headers({"Content-Type": kind, "Content-Length": str(len(body))})
    return Response(HTTPStatus.OK, "OK", headers, body)


@contextmanager
def serving() -> Iterator[Server]:
    with serve(
        handle, "127.0.0.1", 0, process_request=files, subprotocols=[PROTOCOL], ping_interval=None
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def measure(browser: Browser, origin: str, load: str, count: int) -> Figures:
    page = browser.new_page(viewport={"width": 1100, "height": 800})
    try:
        devtools = page.context.new_cdp_session(page)
        devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.add_init_script(f"({FRAMES})()")
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(f"{origin}/page/{load}-{count}")
        page.evaluate(SHOWN, "END")
        return figures(devtools, page)
    finally:
        page.close()


def figures(devtools: CDPSession, page: Page) -> Figures:
    found = devtools.send("Performance.getMetrics")["metrics"]
    metrics = {metric["name"]: metric["value"] for metric in found}
    frames = sorted(page.evaluate("frames_"))
    return Figures(
        task=metrics["TaskDuration"],
        script=metrics["ScriptDuration"],
        layout=metrics["LayoutDuration"],
        style=metrics["RecalcStyleDuration"],
        p95_frame=frames[int(len(frames) * 0.95)],
        nodes=page.evaluate(
            "document.querySelector('chat-session').shadowRoot.querySelectorAll('*').length"
        ),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--only", choices=LOADS, help="one of the loads (default: all)")
    parser.add_argument("--share", type=float, default=1.0, help="of each load (default: 1)")
    options = parser.parse_args(arguments)
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.stderr.write("error: chromium is not installed\n")
        return 1
    print("| load | main thread | script | style | layout | p95 frame | elements |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    with serving() as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        host, port = server.socket.getsockname()[:2]
        for load, (title, _, count, _) in LOADS.items():
            if options.only not in (None, load):
                continue
            size = max(1, round(count * options.share))
            found = measure(browser, f"http://{host}:{port}", load, size)
            seconds = [found.task, found.script, found.style, found.layout]
            cells = [f"{one:.2f} s" for one in seconds] + [f"{found.p95_frame:.0f} ms"]
            print(f"| {' | '.join([title.format(f'{size:,}'), *cells, f'{found.nodes:,}'])} |")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

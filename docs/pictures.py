"""``make pictures``: the README's pictures, from the real page of ``chatsessions run``."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
PORT = 8765


def main() -> None:
    readme = (ROOT / "README.md").read_text()
    bot = re.search(r"```python\n# counter_bot.py\n(.*?)```", readme, re.DOTALL)
    if bot is None:
        raise SystemExit("the README has no counter_bot.py")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "counter_bot.py").write_text(bot[1])
        command = [sys.executable, "-m", "chatsessions", "run", "counter_bot.py"]
        command += ["--headless", "--no-admin", "--port", str(PORT)]
        server = subprocess.Popen(command, cwd=folder, env={"PYTHONPATH": str(ROOT)})
        try:
            wait()
            for scheme in ("light", "dark"):
                take(scheme)
        finally:
            server.terminate()
            server.wait()


def wait() -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", PORT)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the server does not start")


def take(scheme: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(
            viewport={"width": 720, "height": 620},
            device_scale_factor=2,
            color_scheme="light" if scheme == "light" else "dark",
        )
        page.goto(f"http://127.0.0.1:{PORT}/")
        for count, text in enumerate(("Hello!", "Is anybody counting?"), start=1):
            page.get_by_role("textbox", name="Message").fill(text)
            page.keyboard.press("Enter")
            page.get_by_text(f"You have sent {count} message(s)!").wait_for()
        # All of the conversation is to be seen, as the README says of the picture.
        expect(page.get_by_text("Hi! I'll count")).to_be_in_viewport(ratio=1)
        page.screenshot(path=IMAGES / f"counter-{scheme}.png")
        browser.close()


if __name__ == "__main__":
    main()

"""The client as an npm package: packed, installed, and talking to a server from Node."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import chatsessions
from tests import services

from .harness import Server
from .npm import SOURCES, install_client, run

TALK = """
import { ChatClient, ChatClientError } from "chatsessions-client";

const [url, origin] = process.argv.slice(2);
class WebSocketOfNode extends WebSocket {
  constructor(url, protocols) {
    super(url, { protocols, headers: { Origin: origin } });
  }
}
const kept = new Map();
const storage = {
  getItem: (key) => kept.get(key) ?? null,
  setItem: (key, value) => kept.set(key, value),
  removeItem: (key) => kept.delete(key),
};
const said = [];
const states = [];

/** A client that has been told so many messages. */
async function until(count) {
  const client = new ChatClient(url, { WebSocket: WebSocketOfNode, storage });
  client.addEventListener("state", ({ detail }) => states.push(detail.state));
  await new Promise((resolve) => {
    client.addEventListener("event", ({ detail: { name, data } }) => {
      if (name === "message") said.push(data.content);
      if (said.length === count) resolve();
    });
    client.connect();
    if (!said.length) client.sendMessage("hello from Node");
  });
  return client;
}

const first = await until(3);
const { session } = first;
first.close();
const before = said.length;
const second = await until(2 * before); // the log again
let error;
try {
  second.send("", {});
} catch (caught) {
  error = caught instanceof ChatClientError && caught.code;
}
const ended = new Promise((resolve) => {
  second.addEventListener("state", ({ detail }) => detail.state === "ended" && resolve());
});
second.end();
await ended;
second.close();
console.log(JSON.stringify({ said, states, error, same: session === second.session }));
"""

CHECK = """
import { ChatClient, type StateDetail } from "chatsessions-client";

const client = new ChatClient("wss://example.com/ws/counter/", { storage: null });
const told: StateDetail = client.state;
const frame: { n: number } = client.sendMessage("hello");
// @ts-expect-error a name is a text
client.send(5);
export { frame, told };
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that has the package installed, without a registry."""
    services.need("node")
    return install_client(tmp_path_factory.mktemp("project"))


def test_it_is_of_the_same_version_and_has_what_it_names(project: Path) -> None:
    installed = project / "node_modules" / "chatsessions-client"
    package: dict[str, Any] = json.loads((installed / "package.json").read_text())
    assert package["version"] == chatsessions.__version__
    named = {package["main"], package["types"], *package["exports"]["."].values()}
    files = {f"./{path.relative_to(installed)}" for path in installed.rglob("*") if path.is_file()}
    assert files == named | {
        "./package.json",
        "./README.md",
        "./dist/client.js.map",
        "./dist/LICENSE",
    }


def test_node_talks_to_a_server_through_it(project: Path, server: Server) -> None:
    """And a second client goes on with the session, from what the first has kept."""
    version = run("node", "--version", cwd=project)
    major = int(re.match(r"v(\d+)", version)[1])  # type: ignore[index]
    if major < 20:
        pytest.skip(f"node {version} has no WebSocket")
    (project / "talk.mjs").write_text(TALK)
    flags = ["--experimental-websocket"] if major < 22 else []
    told = json.loads(run("node", *flags, "talk.mjs", server.url(), server.origin, cwd=project))
    conversation = [
        "Hi! I'll count how many messages you send.",
        "hello from Node",
        "You have sent 1 message(s)!",
    ]
    assert told == {
        "said": conversation * 2,
        "states": ["connecting", "online", "closed", "connecting", "online", "ended"],
        "error": "bad_name",
        "same": True,
    }


def test_its_types_are_those_of_the_client(project: Path) -> None:
    compiler = SOURCES / "node_modules" / "typescript" / "bin" / "tsc"
    if not compiler.exists():
        pytest.skip("the front end's packages are not installed: make page")
    (project / "check.ts").write_text(CHECK)
    options = ["--strict", "--noEmit", "--module", "nodenext", "--target", "es2022"]
    run(shutil.which("node") or "node", str(compiler), *options, "check.ts", cwd=project)

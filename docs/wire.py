"""
``make wire``: the protocol for other clients, written from the classes of the frames.

- ``docs/protocol/frames.schema.json``: JSON Schema (2020-12) of all frames.
- ``docs/protocol/asyncapi.json``: an AsyncAPI 3.0 document, with the examples of the protocol page.
- ``frontend/client/wire.ts``: types for TypeScript.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import msgspec
from sphinx.pycode import ModuleAnalyzer

from chatsessions import __version__
from chatsessions.input_widget import Input, Tab
from chatsessions.protocol import events, frames

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "protocol.md"

Schema = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
SCHEMA_FILE = "frames.schema.json"
SCHEMA_FORMAT = "application/schema+json;version=draft-2020-12"
#: A pattern that means the same in all dialects: ``$`` and ``\Z`` do not.
CONTROL_CHARACTER = r"[\x00-\x1f\x7f-\x9f]"

CLIENT_FRAMES = get_args(frames.ClientFrame)
SERVER_FRAMES = get_args(frames.ServerFrame)


# JSON Schema


def schema() -> Schema:
    """Return the JSON Schema of the frames: one document, everything in its ``$defs``."""
    shapes = [*events.FROM_CLIENT.values(), *events.FROM_SERVER.values(), events.GivenAnswerData]
    types = [*CLIENT_FRAMES, *SERVER_FRAMES, *shapes, *get_args(Input), Tab]
    _, found = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    defs = {name: _portable(one) for name, one in found.items()}
    _describe(defs, [one for one in types if one.__name__ in defs])

    inputs = [one.__name__ for one in (*get_args(Input), Tab)]
    defs["Input"] = {"anyOf": [_ref(name) for name in inputs]}
    defs["SettingsFormData"]["properties"]["inputs"]["items"] = _ref("Input")

    client, server = defs["ClientEvent"], defs["ServerEvent"]
    # An answer is a frame of its own.
    never = client["properties"]["name"]["not"]
    client["properties"]["name"]["not"] = {"anyOf": [never, {"const": "answer"}]}
    client["allOf"] = [_data_of(name, data) for name, data in events.FROM_CLIENT.items()]
    replayed = events.FROM_CLIENT | {"answer": events.GivenAnswerData}
    server["allOf"] = [
        *(_data_of(name, data, own=False) for name, data in events.FROM_SERVER.items()),
        *(_data_of(name, data, own=True) for name, data in replayed.items()),
    ]
    unions = {
        "ClientFrame": {
            "description": "What a client sends, one in each message.",
            "anyOf": [_ref(one.__name__) for one in CLIENT_FRAMES],
        },
        "ServerFrame": {
            "description": "What the server sends.",
            "anyOf": [_ref(one.__name__) for one in SERVER_FRAMES],
        },
        "ServerBundle": {
            "description": "Several frames in one message, for a client that takes bundles.",
            "type": "array",
            "items": _ref("ServerFrame"),
            "minItems": 2,
        },
    }
    return {
        "$schema": DRAFT,
        "title": frames.SUBPROTOCOL,
        "description": (
            "One message of the websocket, of either side. Unknown keys are ignored. The data of "
            f"an event is nested at most {frames.MAX_DEPTH} levels deep, and a frame has at most "
            "max_frame bytes: neither can be said here."
        ),
        "anyOf": [_ref("ClientFrame"), _ref("ServerFrame"), _ref("ServerBundle")],
        "$defs": unions | defs,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _portable(schema: Any) -> Any:
    """Return a schema of msgspec's without what other readers take in another way."""
    if isinstance(schema, list):
        return [_portable(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    new = {key: _portable(value) for key, value in schema.items() if key != "discriminator"}
    if new.get("pattern") == frames.CLEAN:
        del new["pattern"]
        new["not"] = {"pattern": CONTROL_CHARACTER}
    if new.get("pattern") == events.NO_NUL:
        del new["pattern"]
        new["not"] = {"pattern": r"\x00"}
    if len(new.get("enum", ())) == 1:
        new["const"] = new.pop("enum")[0]
    return new


def _describe(defs: dict[str, Schema], classes: Iterable[Any]) -> None:
    """Add what the comments of the classes say of their attributes."""
    for one in classes:
        properties = defs[one.__name__]["properties"]
        for base in one.__mro__[:-1]:
            for name, told in _attributes(base.__module__).get(base.__name__, {}).items():
                if name in properties:
                    properties[name] = {"description": told, **properties[name]}
    for schema in defs.values():
        if "description" in schema:
            schema["description"] = _words(schema["description"])


@cache
def _attributes(module: str) -> dict[str, dict[str, str]]:
    """Return what the comments of a module say, by class and attribute."""
    found: dict[str, dict[str, str]] = {}
    if module.startswith("chatsessions."):
        for (owner, name), lines in ModuleAnalyzer.for_module(module).find_attr_docs().items():
            found.setdefault(owner, {})[name] = _words(" ".join(lines))
    return found


def _words(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def _data_of(name: str, data: Any, *, own: bool | None = None) -> Schema:
    """Return a rule: an event ``name``, of the client itself or not, has such data."""
    when: Schema = {"properties": {"name": {"const": name}}}
    if own is not None:
        has_n: Schema = {"required": ["n"]}
        when |= has_n if own else {"not": has_n}
    shape = _ref(data.__name__) if hasattr(data, "__struct_fields__") else {"type": "object"}
    return {"if": when, "then": {"properties": {"data": shape}}}


# Examples


def examples() -> Iterator[tuple[str, Any]]:
    """
    Yield each message that the protocol page shows: ``C`` or ``S`` for who sends it, and itself.

    Raises ``ValueError`` for one that is not JSON.
    """
    for block in re.findall(r"^```text\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        for side, text in re.findall(r"^([CS]): (.+(?:\n {4}.+)*)", block, re.MULTILINE):
            yield side, json.loads(text)


def _codes(heading: str) -> dict[str, str]:
    """Return the first table of the protocol page behind ``heading``: codes, and what they mean."""
    table = PAGE.read_text().partition(f"\n{heading}\n")[2].partition("\n|")[2]
    rows = table.partition("\n\n")[0].splitlines()[2:]
    cells = [row.replace("`", "").strip("| ").split(" | ") for row in rows]
    return {code: ". The connection: ".join(meaning) for code, *meaning in cells}


# AsyncAPI


def asyncapi() -> Schema:
    """Return the AsyncAPI document of a server."""
    defs = schema()["$defs"]
    shown: dict[str, list[Any]] = {}
    for side, message in examples():
        for frame in message if isinstance(message, list) else [message]:
            shown.setdefault(side + frame["type"], []).append(frame)
    kinds = [("C", one) for one in CLIENT_FRAMES] + [("S", one) for one in SERVER_FRAMES]
    messages = {
        one.__name__: {
            "name": _tag(one),
            "title": one.__name__,
            "summary": defs[one.__name__]["description"],
            "contentType": "application/json",
            "payload": {
                "schemaFormat": SCHEMA_FORMAT,
                "schema": {"$ref": f"{SCHEMA_FILE}#/$defs/{one.__name__}"},
            },
            "examples": [{"payload": frame} for frame in shown.get(side + _tag(one), ())],
        }
        for side, one in kinds
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": frames.SUBPROTOCOL,
            "version": __version__,
            "description": (
                "What a server of chatsessions and its clients say to each other over a websocket. "
                "The document is the server's: it receives what clients send. A message of the "
                "websocket is one frame; from the server, to a client that asks for bundles, it "
                "may be an array of frames. docs/protocol.md has the rules of resuming, pace and "
                "delivery."
            ),
            "license": {"name": "BSD-3-Clause"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "site": {
                "host": "{host}",
                "protocol": "wss",
                "variables": {"host": {"default": "localhost:8000"}},
            }
        },
        "channels": {"chat": _channel(messages)},
        "operations": _operations(),
        "components": {"messages": messages},
    }


def _tag(frame: Any) -> str:
    return str(frame.__struct_config__.tag)


def _channel(messages: Schema) -> Schema:
    header = {"type": "string"}
    return {
        "address": "/{path}",
        "description": (
            "One websocket of one chat. The server accepts the handshake first, and refuses "
            "afterwards with an error and a close code; a foreign Origin alone is refused by the "
            "handshake."
        ),
        "parameters": {
            "path": {
                "description": "The path that the site gives the chat.",
                "examples": ["ws/counter/"],
            }
        },
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {"type": "object", "properties": {}, "description": "None is read."},
                "headers": {
                    "type": "object",
                    "properties": {
                        "Sec-WebSocket-Protocol": {
                            **header,
                            "description": "May be left out; others alone are refused.",
                            "const": frames.SUBPROTOCOL,
                        },
                        "Origin": {**header, "description": "One that the site allows."},
                        "Cookie": {
                            **header,
                            "description": "A login of Django.",
                        },
                        "Accept-Language": {
                            **header,
                            "description": "Its first is the session's language by default.",
                        },
                    },
                },
                "bindingVersion": "0.1.0",
            }
        },
        "x-close-codes": _codes("## Close codes"),
        "x-error-codes": _codes("## Error codes"),
    }


def _operations() -> Schema:
    #: What the server may answer a frame with, other than by what it sends anyway.
    replies = {
        "Hello": ["Welcome", "Error"],
        "ClientEvent": ["Accepted", "Error"],
        "Answer": ["Accepted", "Error"],
        "End": ["Ended"],
        "Ping": ["Pong"],
    }

    def listed(names: list[str]) -> list[Schema]:
        return [{"$ref": f"#/channels/chat/messages/{name}"} for name in names]

    channel = {"$ref": "#/channels/chat"}
    found: Schema = {}
    for one in CLIENT_FRAMES:
        name = one.__name__
        found[f"receive{name}"] = {
            "action": "receive",
            "channel": channel,
            "messages": listed([name]),
        }
        if name in replies:
            found[f"receive{name}"]["reply"] = {
                "channel": channel,
                "messages": listed(replies[name]),
            }
    for one in SERVER_FRAMES:
        if one.__name__ not in ("Welcome", "Accepted", "Pong"):
            found[f"send{one.__name__}"] = {
                "action": "send",
                "channel": channel,
                "messages": listed([one.__name__]),
            }
    return found


# TypeScript


def typescript() -> str:
    """Return the frames as types of TypeScript."""
    parts = [
        f"// The frames of {frames.SUBPROTOCOL}, written from the server's classes by `make wire`.",
    ]
    for name, one in schema()["$defs"].items():
        parts.append(_comment(one) + _declared(name, one))
    for name, known in (
        ("ClientEventData", events.FROM_CLIENT),
        ("ServerEventData", events.FROM_SERVER),
    ):
        side = "client's" if name.startswith("Client") else "server's"
        lines = [
            f"  {key}: {data.__name__ if hasattr(data, '__struct_fields__') else _OBJECT};"
            for key, data in known.items()
        ]
        told = f"/** The data of the {side} events whose names have a meaning. */\n"
        parts.append(told + f"export interface {name} {{\n" + "\n".join(lines) + "\n}")
    return "\n\n".join(parts) + "\n"


_OBJECT = "Record<string, unknown>"
_PLAIN = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "null": "null",
}


def _declared(name: str, schema: Schema) -> str:
    if "properties" not in schema:
        return f"export type {name} = {_type(schema)};"
    required = schema.get("required", ())
    lines = []
    for key, one in schema["properties"].items():
        lines += [f"  {line}" for line in _comment(one).splitlines()]
        lines.append(f"  {key}{'' if key in required else '?'}: {_type(one)};")
    return f"export interface {name} {{\n" + "\n".join(lines) + "\n}"


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(map(_type, schema["anyOf"])))
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(map(json.dumps, schema["enum"]))
    kind = schema.get("type")
    if kind == "array":
        inner = _type(schema["items"]) if "items" in schema else "unknown"
        return f"({inner})[]" if " | " in inner else f"{inner}[]"
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"Record<string, {_type(values)}>" if values else _OBJECT
    return "unknown" if kind is None else _PLAIN[kind]


def _comment(schema: Schema) -> str:
    return f"/** {schema['description']} */\n" if "description" in schema else ""


# Files


def _as_json(document: Schema) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


#: Each file, from the root, and what writes it.
FILES: dict[str, Callable[[], str]] = {
    f"docs/protocol/{SCHEMA_FILE}": lambda: _as_json(schema()),
    "docs/protocol/asyncapi.json": lambda: _as_json(asyncapi()),
    "frontend/client/wire.ts": typescript,
}


def main() -> None:
    for name, make in FILES.items():
        (ROOT / name).write_text(make())


if __name__ == "__main__":
    main()

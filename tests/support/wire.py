"""The committed JSON Schema of the frames, as a client written elsewhere reads it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Literal

from jsonschema import Draft202012Validator

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "protocol"

Kind = Literal["ClientFrame", "ServerFrame", "ServerBundle"]


@cache
def schema() -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / "frames.schema.json").read_text())
    return document


@cache
def _validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator({**schema(), "anyOf": [{"$ref": f"#/$defs/{kind}"}]})


def allows(kind: Kind, message: Any) -> bool:
    """Return True if a message, decoded from JSON, is valid for the kind."""
    return _validator(kind).is_valid(message)


def refusals(kind: Kind, message: Any) -> list[str]:
    """Return why a message is invalid, by the schema of the frame with its ``type``."""
    if allows(kind, message):
        return []
    frames = {"ClientFrame": "ClientFrame"}.get(kind, "ServerFrame")
    given = message if isinstance(message, list) else [message]
    kinds = {
        schema()["$defs"][name]["properties"]["type"]["const"]: name
        for name in (one["$ref"].rpartition("/")[2] for one in schema()["$defs"][frames]["anyOf"])
    }
    found = []
    for one in given:
        for error in _validator(kinds.get(one.get("type"), frames)).iter_errors(one):
            causes = error.context or [error]
            found += [f"{cause.json_path}: {cause.message} in {one}" for cause in causes]
    return found or [f"not one of {kind}: {message}"]

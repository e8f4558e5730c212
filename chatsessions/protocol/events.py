"""
The shapes of the data of events whose names the protocol defines.

The server checks a client's data against these shapes. Its own data has these keys, and others
that an application adds. Times are ISO 8601 with an offset.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

#: PostgreSQL stores no NUL. \Z and not $: a $ also matches before a newline at the end.
NO_NUL = r"^[^\x00]*\Z"
#: The longest id of a message that may be given feedback, and the longest comment, in characters.
MAX_MESSAGE_ID = 255
MAX_COMMENT = 4000


def one_of(*values: str) -> Meta:
    """Return the JSON Schema of a text that the server chooses; clients do not check it."""
    return Meta(extra_json_schema={"enum": list(values)})


_Uuid = Annotated[
    UUID,
    Meta(extra_json_schema={"pattern": "^[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}$"}),
]


# From the client


class UserMessageData(Struct):
    """What the user says."""

    content: str
    #: Chosen by the client; the server makes one where it is left out.
    id: _Uuid | None = None
    #: The ids of files that were uploaded.
    files: list[str] | None = None
    #: The number of the user's last message, which this one takes the place of.
    replaces: Annotated[int, Meta(ge=1, le=2**53 - 1)] | None = None


class ChosenActionData(Struct):
    """The action that the user has chosen, as it was offered."""

    id: str
    name: str
    payload: dict[str, Any] = {}  # msgspec copies it


class GivenFeedbackData(Struct):
    """What the user thinks of an answer."""

    #: The id of the message.
    message: Annotated[str, Meta(min_length=1, max_length=MAX_MESSAGE_ID, pattern=NO_NUL)]
    #: Null takes it back.
    value: Literal["up", "down"] | None
    comment: Annotated[str, Meta(max_length=MAX_COMMENT, pattern=NO_NUL)] = ""


#: By the name of the client's event; any other name may have any data.
FROM_CLIENT: dict[str, Any] = {
    "message": UserMessageData,
    "action": ChosenActionData,
    "feedback": GivenFeedbackData,
    "settings": dict[str, Any],
}


class GivenAnswerData(Struct):
    """The answer to a question, as the log has it. It came as a frame of its own."""

    call: str
    data: Any


# From the server


class FileData(Struct):
    """A file of a message; it is fetched by its id. ``size`` is in bytes."""

    id: str
    name: str
    mime: str
    size: int


class ActionData(Struct):
    """A button. ``payload`` comes back when it is chosen."""

    id: str
    name: str
    payload: dict[str, Any]
    label: str
    tooltip: str
    icon: str | None


class _MessageData(Struct, kw_only=True):
    id: str
    author: str
    content: str
    created_at: datetime
    streaming: bool
    #: Left out, it is the assistant's.
    type: Annotated[str, one_of("user_message", "system_message")] | UnsetType = UNSET
    #: How the content is to be read; left out, it is plain text.
    format: Annotated[str, one_of("markdown")] | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    actions: list[ActionData] | UnsetType = UNSET


class ServerMessageData(_MessageData, kw_only=True):
    """A message of the server. While ``streaming`` is true, tokens are added to its content."""

    files: list[FileData] | UnsetType = UNSET


class MessageUpdateData(_MessageData, kw_only=True):
    """A message as it is now, all of it."""

    #: Those that a client has sent with its message may be told by their ids alone.
    files: list[FileData | str] | UnsetType = UNSET
    #: The number of the client's event that is changed; left out, it is the server's message.
    n: int | UnsetType = UNSET


class MessageRemoveData(Struct):
    """The message that is removed."""

    id: str
    #: The number of the client's event that is removed; left out, it is the server's message.
    n: int | UnsetType = UNSET


class StepEventData(Struct, kw_only=True):
    """What a bot does on its way. While ``streaming`` is true, tokens are added to its output."""

    id: str
    name: str
    type: str
    input: str
    output: str
    start: datetime
    streaming: bool
    #: How the output is to be read; left out, it is plain text.
    format: Annotated[str, one_of("markdown")] | UnsetType = UNSET
    #: The id of the step that it is part of.
    parent: str | UnsetType = UNSET
    error: str | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    end: datetime | UnsetType = UNSET


class StepRemoveData(Struct):
    """The step that is removed."""

    id: str


class AskData(Struct, kw_only=True):
    """A question; an ``answer`` frame with its ``call`` answers it."""

    call: str
    #: ``text``, ``action``, ``files``, or a kind of the application's own.
    kind: str
    #: When nobody waits any more; null for as long as the session lives.
    deadline: datetime | None
    #: In seconds.
    timeout: float | None
    content: str | UnsetType = UNSET
    #: How the content is to be read; left out, it is plain text.
    format: Annotated[str, one_of("markdown")] | UnsetType = UNSET
    author: str | UnsetType = UNSET
    #: What may be chosen, of the kind ``action``.
    actions: list[ActionData] | UnsetType = UNSET
    #: Types and extensions of files, of the kind ``files``; or types with their extensions.
    accept: list[str] | dict[str, list[str]] | UnsetType = UNSET
    max_files: int | UnsetType = UNSET
    max_size_mb: float | UnsetType = UNSET


class AskClosedData(Struct):
    """A question that nobody waits for any more."""

    call: str
    outcome: Annotated[str, one_of("answered", "timeout", "cancelled")]


class FailureData(Struct):
    """A turn that has failed, or that a crash cut short."""

    code: Annotated[str, one_of("handler_error", "no_handler", "interrupted")]
    detail: str


class SettingsFormData(Struct):
    """What may be adjusted. A client leaves out inputs of a type that it does not know."""

    inputs: list[dict[str, Any]]


class StarterData(Struct):
    """A message that the user may begin with, by a button."""

    label: str
    message: str
    icon: str | None = None


class StartersData(Struct):
    """Messages that the user may begin with, in an empty conversation."""

    starters: list[StarterData]


#: By the name of the server's event; any other name is the application's own.
FROM_SERVER: dict[str, Any] = {
    "message": ServerMessageData,
    "message_update": MessageUpdateData,
    "message_remove": MessageRemoveData,
    "step": StepEventData,
    "step_update": StepEventData,
    "step_remove": StepRemoveData,
    "ask": AskData,
    "ask_closed": AskClosedData,
    "settings": dict[str, Any],
    "settings_form": SettingsFormData,
    "starters": StartersData,
    "error": FailureData,
}

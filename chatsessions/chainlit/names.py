"""The state of each of Chainlit's names and submodules here, and what to use instead of it."""

from __future__ import annotations

import dis
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Literal

#: The package whose names these are.
PACKAGE = __name__.rpartition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """The state of one name."""

    state: Literal["works", "differs", "missing"]
    #: What differs, or what to do instead. Empty if it works.
    text: str = ""


_WORKS = Name(state="works")


def _differs(text: str) -> Name:
    return Name(state="differs", text=text)


def _missing(text: str) -> Name:
    return Name(state="missing", text=text)


_LOGIN = _missing(
    "users log in with Django (django.contrib.auth, django-allauth, …): serve the bot by "
    "ChatConsumer.as_asgi(chat=…, login_required=True); user_session.get('user') is who has "
    "logged in"
)
_AUDIO = _missing(
    "the page records nothing: let the user attach a file, or send events of your own from your "
    "page and take them with chatsessions.on_event('audio')"
)
_MCP = _missing(
    "connect to the server in @chatsessions.session_lifespan, and keep the client in "
    "chatsessions.user_session.local"
)
_TRACING = _missing(
    "call the library's own client, show its calls by Step and its tokens by "
    "Message.stream_token(); its callbacks run in the context by chatsessions.bind_context()"
)
_GENERATION = _missing("keep what a model has said in the metadata of a Step or a Message")
_DRAWN = _missing(
    "emit an event of your own, await context.emitter.emit('name', {…}), and draw it on your page, "
    "which gets it as 'chat-event'"
)
_STORED = _missing(
    "sessions and their logs are rows: the models ChatSession and SessionEvent, the admin, and "
    "chat_context"
)
_PLATFORM = _missing(
    "other platforms are not served: call the session from a view of yours, by "
    "chatsessions.http_session() or ChatView"
)
_SERVER = _missing("the server is Django's: ASGI_APPLICATION, and urls.py for routes of your own")
_FEEDBACK = _missing("what users think is in the model SessionFeedback, which the session writes")
_ASK_ELEMENT = _missing(
    "ask with AskActionMessage, or emit an event of your own and take the answer with "
    "chatsessions.on_event(…)"
)
_OUTSIDE = _missing("in a view or a task write 'with chatsessions.session_context(id):'")
_CONFIG = _missing(
    "settings are Django's, in settings.CHATSESSIONS; for user_env write "
    "chatsessions.user_env('MODEL_API_KEY') at the top of the bot"
)

#: The names of the package, and those that users import from its submodules.
NAMES: dict[str, Name] = {
    # Handlers
    "on_chat_start": _differs(
        "it runs once per session, whatever reconnects. It runs again if values that were only in "
        "memory are lost: then its messages are not shown, but its questions are asked again"
    ),
    "on_message": _WORKS,
    "on_stop": _WORKS,
    "on_chat_end": _differs(
        "it runs when the session is over, not on a disconnect: that is chatsessions.on_disconnect"
    ),
    "on_chat_resume": _differs(
        "it runs for a thread of a user who is logged in. It runs again if values that were only "
        "in memory are lost: then its messages are not shown, but its questions are asked again"
    ),
    "on_settings_update": _differs("it gets all settings, which are stored with the session"),
    "on_window_message": _WORKS,
    "action_callback": _WORKS,
    "author_rename": _WORKS,
    "set_chat_profiles": _differs("config_overrides of a profile are ignored"),
    "set_starters": _WORKS,
    "set_starter_categories": _differs("the starters are shown without their categories"),
    "send_window_message": _differs(
        "it is in the log, and so comes again to a page that is reloaded"
    ),
    "password_auth_callback": _LOGIN,
    "header_auth_callback": _LOGIN,
    "oauth_callback": _LOGIN,
    "on_logout": _missing(
        "connect to Django's signal user_logged_out; chatsessions.end_session() ends sessions"
    ),
    "on_app_startup": _missing("Django has a place for it: AppConfig.ready()"),
    "on_app_shutdown": _missing(
        "@chatsessions.session_lifespan closes what a session has opened, at the server's end too"
    ),
    "on_audio_start": _AUDIO,
    "on_audio_chunk": _AUDIO,
    "on_audio_end": _AUDIO,
    "on_mcp_connect": _MCP,
    "on_mcp_disconnect": _MCP,
    "on_feedback": _differs("a message has one feedback, without an id of its own"),
    "on_settings_edit": _missing("write on_settings_update: the page sends what the user confirms"),
    "on_shared_thread_view": _missing("write a Django view over ChatSession and its events"),
    "on_slack_reaction_added": _PLATFORM,
    "data_layer": _STORED,
    # Messages
    "Message": _differs(
        "it is stored before it is shown; HTML in it is text; tags, command, modes "
        "and parent_id are not sent"
    ),
    "ErrorMessage": _WORKS,
    "AskUserMessage": _differs(
        "the question is there again after a reload, and keeps its text when it is answered"
    ),
    "AskFileMessage": _differs("as AskUserMessage; the files are the session's, and go with it"),
    "AskActionMessage": _differs("as AskUserMessage"),
    "AskElementMessage": _ASK_ELEMENT,
    "Action": _differs(
        "the client cannot change its payload; its icon is one of a few names, or a sign such as "
        "an emoji"
    ),
    "Step": _differs("what an exception says is shown under DEBUG only"),
    "step": _WORKS,
    # Elements
    "Image": _differs("its bytes are a file of the session; size and display do nothing"),
    "Text": _differs("it is a file of plain text, which the page shows up to 32 KiB"),
    "File": _WORKS,
    "Pdf": _differs("page and display do nothing"),
    "Audio": _differs("auto_play does nothing"),
    "Video": _differs("player_config does nothing"),
    "Pyplot": _differs("it is an image in a file of the session"),
    "Task": _WORKS,
    "TaskList": _differs("it is a message that is updated"),
    "TaskStatus": _WORKS,
    "Element": _differs("it is a file of the session"),
    "Dataframe": _missing(
        "send a Message with data.to_string(), or a File(name='data.csv', content=data.to_csv())"
    ),
    "Plotly": _missing(
        "send an Image(content=figure.to_image('png')), or a File with figure.to_html()"
    ),
    "CustomElement": _DRAWN,
    "ElementSidebar": _DRAWN,
    "CopilotFunction": _missing(
        "write send_window_message() and @on_window_message, or emit an event of your own, which "
        "your page gets as 'chat-event'"
    ),
    # Settings and choices
    "ChatSettings": _differs("what a user sets is checked on the server, and stored"),
    "ChatProfile": _differs(
        "config_overrides does nothing; the icon is one of a few names, or a sign"
    ),
    "Starter": _differs("command does nothing; the icon is one of a few names, or a sign"),
    "StarterCategory": _differs("icon does nothing"),
    "Mode": _differs("modes are not shown"),
    "ModeOption": _differs("modes are not shown"),
    "input_widget": _WORKS,
    "InputWidget": _WORKS,
    "Select": _WORKS,
    "Slider": _WORKS,
    "Switch": _WORKS,
    "TextInput": _WORKS,
    "Tags": _WORKS,
    "NumberInput": _WORKS,
    "MultiSelect": _WORKS,
    "Checkbox": _WORKS,
    "RadioGroup": _WORKS,
    "DatePicker": _differs("format does nothing: the browser decides how a date looks"),
    "Tab": _WORKS,
    # The session
    "user_session": _differs(
        "values are stored. A value that cannot be stored is kept in memory, and on_chat_start "
        "builds it again after a restart"
    ),
    "UserSession": _WORKS,
    "SessionAccessor": _WORKS,
    "context": _WORKS,
    "context_var": _WORKS,
    "get_context": _WORKS,
    "local_steps": _WORKS,
    "ChainlitContext": _WORKS,
    "ChainlitContextException": _WORKS,
    "init_ws_context": _OUTSIDE,
    "init_http_context": _OUTSIDE,
    "BaseSession": _differs(
        "delete() deletes this machine's copies of its files; chatsessions.end_session() ends one"
    ),
    "WebsocketSession": _differs("get_by_id() finds the current session only; a bot makes none"),
    "HTTPSession": _differs("it is the session of a client of ChatView; a bot makes none"),
    "BaseChainlitEmitter": _WORKS,
    "ChainlitEmitter": _differs("it warns of what the page cannot show"),
    "chat_context": _differs(
        "get() gives copies; it has the latest messages, also after a restart, and the questions "
        "of Ask…Messages as well as their answers"
    ),
    "User": _WORKS,
    "PersistedUser": _WORKS,
    # Around
    "make_async": _WORKS,
    "run_sync": _WORKS,
    "sleep": _WORKS,
    "cache": _WORKS,
    "logger": _WORKS,
    "config": _CONFIG,
    "server": _SERVER,
    "mount_chainlit": _missing(
        "serve the bot beside your project's views: chatsessions.asgi.get_chat_application()"
    ),
    "InputAudioChunk": _AUDIO,
    "OutputAudioChunk": _AUDIO,
    "ChatGeneration": _GENERATION,
    "CompletionGeneration": _GENERATION,
    "GenerationMessage": _GENERATION,
    "LangchainCallbackHandler": _TRACING,
    "AsyncLangchainCallbackHandler": _TRACING,
    "LlamaIndexCallbackHandler": _TRACING,
    "SemanticKernelFilter": _TRACING,
    "instrument_openai": _TRACING,
    "instrument_mistralai": _TRACING,
    # Types
    "ThreadDict": _WORKS,
    "StepDict": _WORKS,
    "ElementDict": _WORKS,
    "UserDict": _WORKS,
    "FileDict": _WORKS,
    "FileReference": _WORKS,
    "CommandDict": _WORKS,
    "AskFileResponse": _WORKS,
    "AskActionResponse": _WORKS,
    "AskSpec": _WORKS,
    "AskFileSpec": _WORKS,
    "AskActionSpec": _WORKS,
    "Feedback": _WORKS,
    "FeedbackDict": _FEEDBACK,
    "Pagination": _STORED,
    "PaginatedResponse": _STORED,
    "PageInfo": _STORED,
    "ThreadFilter": _STORED,
    "FileSpec": _WORKS,
    "ActionSpec": _WORKS,
    "InputWidgetType": _WORKS,
    "ClientType": _WORKS,
    "PersistedUserFields": _WORKS,
    # What Chainlit's own server is made of
    "AskElementSpec": _ASK_ELEMENT,
    "AskElementResponse": _ASK_ELEMENT,
    "FeedbackStrategy": _FEEDBACK,
    "UpdateFeedbackRequest": _FEEDBACK,
    "DeleteFeedbackRequest": _FEEDBACK,
    "InputAudioChunkPayload": _AUDIO,
    "McpSession": _MCP,
    "ConnectMCPRequest": _MCP,
    "ConnectStdioMCPRequest": _MCP,
    "ConnectSseMCPRequest": _MCP,
    "ConnectStreamableHttpMCPRequest": _MCP,
    "DisconnectMCPRequest": _MCP,
    "HasFromDict": _STORED,
    "clean_metadata": _STORED,
    "JSONEncoderIgnoreNonSerializable": _STORED,
    "MessagePayload": _SERVER,
    "CallActionRequest": _SERVER,
    "ElementRequest": _SERVER,
    "GetThreadsRequest": _SERVER,
    "UpdateThreadRequest": _SERVER,
    "ShareThreadRequest": _SERVER,
    "DeleteThreadRequest": _SERVER,
    "ThreadQueue": _SERVER,
    "Provider": _LOGIN,
    "user_sessions": _OUTSIDE,
    "chat_contexts": _OUTSIDE,
    "ws_sessions_id": _OUTSIDE,
    "ws_sessions_sid": _OUTSIDE,
    "init_lc_cache": _TRACING,
    "Theme": _missing("your page's template and its styles say how it looks"),
}

_UNKNOWN = (
    "If Chainlit has it, it is internal there; docs/from-chainlit.md, 'Coming from Chainlit', "
    "has all names that bots use"
)

#: The submodules.
MODULES: dict[str, Name] = {
    "types": _WORKS,
    "user_session": _WORKS,
    "context": _WORKS,
    "session": _WORKS,
    "action": _WORKS,
    "message": _WORKS,
    "element": _WORKS,
    "step": _WORKS,
    "user": _WORKS,
    "input_widget": _WORKS,
    "chat_context": _WORKS,
    "chat_settings": _WORKS,
    "sync": _WORKS,
    "emitter": _WORKS,
    "logger": _WORKS,
    "callbacks": _WORKS,
    "cache": _WORKS,
    "mode": _WORKS,
    "config": _CONFIG,
    "data": _STORED,
    "server": _SERVER,
    "socket": _SERVER,
    "cli": _missing("write 'chatsessions run bot.py -w', or 'python -m chatsessions run bot.py'"),
    "auth": _LOGIN,
    "oauth_providers": _LOGIN,
    "secret": _missing("secrets.token_urlsafe() makes one; Django's is settings.SECRET_KEY"),
    "langchain": _TRACING,
    "llama_index": _TRACING,
    "langflow": _TRACING,
    "openai": _TRACING,
    "mistralai": _TRACING,
    "semantic_kernel": _TRACING,
    "haystack": _TRACING,
    "mcp": _MCP,
    "sidebar": _DRAWN,
    "copilot": NAMES["CopilotFunction"],
    "slack": _PLATFORM,
    "discord": _PLATFORM,
    "teams": _PLATFORM,
    "utils": NAMES["mount_chainlit"],
    "markdown": _missing("the text beside the chat is in your page's template"),
    "translations": _missing("texts of the page are translated as those of any Django app"),
}


def missing(module: str, name: str) -> Exception:
    """Return the error for a name that a module does not have, with what to do instead."""
    known = NAMES.get(name)
    message = f"module {module!r} has no attribute {name!r}"
    if known is not None and known.state == "missing":
        message += f". Instead: {known.text}"
    elif known is not None and module != PACKAGE:
        message += f": import it from {PACKAGE}"
    elif known is None and not name.startswith("__"):
        message += f". {_UNKNOWN}"
    frame = sys._getframe(2)
    if frame.f_code.co_code[frame.f_lasti] == dis.opmap["IMPORT_FROM"]:
        # Here Python would not show the message of an AttributeError.
        return ImportError(message, name=module)
    return AttributeError(message, name=name, obj=sys.modules.get(module))


class MissingModules:
    """The last import finder; its error says what to use instead of a missing submodule."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Raise ``ImportError`` for a submodule, or a name, of Chainlit that is missing here."""
        parent, _, own = name.rpartition(".")
        if parent != PACKAGE:
            return None
        known: Any = MODULES.get(own) or NAMES.get(own)
        if known is None or known.state != "missing":
            return None
        raise ImportError(f"There is no {name}. Instead: {known.text}", name=name)

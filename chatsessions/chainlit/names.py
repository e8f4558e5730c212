"""The state of each of Chainlit's names and submodules here, and what to use instead of it."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable, Sequence
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


_LOGIN = (
    "users log in with Django (django.contrib.auth, django-allauth, …): serve the bot by "
    "ChatConsumer.as_asgi(chat=…, login_required=True); user_session.get('user') is who has "
    "logged in"
)
_AUDIO = (
    "the page records nothing: let the user attach a file, or send events of your own from your "
    "page and take them with chatsessions.on_event('audio')"
)
_MCP = (
    "connect to the server in @chatsessions.session_lifespan, and keep the client in "
    "chatsessions.user_session.local"
)
_PLATFORM = (
    "other platforms are not served: call the session from a view of yours, by "
    "chatsessions.http_session() or ChatView"
)
_STORED = (
    "sessions and their logs are rows: the models ChatSession and SessionEvent, the admin, and "
    "chat_context"
)
_DRAWN = (
    "emit an event of your own, await context.emitter.emit('name', {…}), and draw it on your "
    "page, which gets it as 'chat-event'"
)
_COPILOT = (
    "write send_window_message() and @on_window_message, or emit an event of your own, which "
    "your page gets as 'chat-event'"
)
_OUTSIDE = "in a view or a task write 'with chatsessions.session_context(id):'"
_CONFIG = (
    "settings are Django's, in settings.CHATSESSIONS; for user_env write "
    "chatsessions.user_env('MODEL_API_KEY') at the top of the bot"
)
_SERVER = "the server is Django's: ASGI_APPLICATION, and urls.py for routes of your own"
_MOUNT = "serve the bot beside your project's views: chatsessions.asgi.get_chat_application()"
_TRACING = (
    "call the library's own client, show its calls by Step and its tokens by "
    "Message.stream_token(); its callbacks run in the context by chatsessions.bind_context()"
)

# The names of the package, and those that users import from its submodules.

_WORKS = """
    on_message on_stop on_window_message action_callback author_rename set_starters ErrorMessage
    step File Task TaskStatus input_widget InputWidget Select Slider Switch TextInput Tags
    NumberInput MultiSelect Checkbox RadioGroup Tab UserSession SessionAccessor context
    context_var get_context local_steps ChainlitContext ChainlitContextException
    BaseChainlitEmitter User PersistedUser make_async run_sync sleep cache logger ThreadDict
    StepDict ElementDict UserDict FileDict FileReference CommandDict AskFileResponse
    AskActionResponse AskSpec AskFileSpec AskActionSpec Feedback FileSpec ActionSpec
    InputWidgetType ClientType PersistedUserFields
"""

#: Names, and what differs.
_DIFFERS = {
    "on_chat_start": (
        "it runs once per session, whatever reconnects. It runs again if values that were only in "
        "memory are lost: then its messages are not shown, but its questions are asked again"
    ),
    "on_chat_end": (
        "it runs when the session is over, not on a disconnect: that is chatsessions.on_disconnect"
    ),
    "on_chat_resume": (
        "it runs for a thread of a user who is logged in. It runs again if values that were only "
        "in memory are lost: then its messages are not shown, but its questions are asked again"
    ),
    "on_settings_update": "it gets all settings, which are stored with the session",
    "set_chat_profiles": "config_overrides of a profile are ignored",
    "set_starter_categories": "the starters are shown without their categories",
    "send_window_message": "it is in the log, and so comes again to a page that is reloaded",
    "on_feedback": "a message has one feedback, without an id of its own",
    "Message": (
        "it is stored before it is shown; HTML in it is text; tags, command, modes and parent_id "
        "are not sent"
    ),
    "AskUserMessage": (
        "the question is there again after a reload, and keeps its text when it is answered"
    ),
    "AskFileMessage": "as AskUserMessage; the files are the session's, and go with it",
    "AskActionMessage": "as AskUserMessage",
    "Action": (
        "the client cannot change its payload; its icon is one of a few names, or a sign such as "
        "an emoji"
    ),
    "Step": "what an exception says is shown under DEBUG only",
    "Image": "its bytes are a file of the session; size and display do nothing",
    "Text": "it is a file of plain text, which the page shows up to 32 KiB",
    "Pdf": "page and display do nothing",
    "Audio": "auto_play does nothing",
    "Video": "player_config does nothing",
    "Pyplot": "it is an image in a file of the session",
    "TaskList": "it is a message that is updated",
    "Element": "it is a file of the session",
    "ChatSettings": "what a user sets is checked on the server, and stored",
    "ChatProfile": "config_overrides does nothing; the icon is one of a few names, or a sign",
    "Starter": "command does nothing; the icon is one of a few names, or a sign",
    "StarterCategory": "icon does nothing",
    "Mode ModeOption": "modes are not shown",
    "DatePicker": "format does nothing: the browser decides how a date looks",
    "user_session": (
        "values are stored. A value that cannot be stored is kept in memory, and on_chat_start "
        "builds it again after a restart"
    ),
    "BaseSession": (
        "delete() deletes this machine's copies of its files; chatsessions.end_session() ends one"
    ),
    "WebsocketSession": "get_by_id() finds the current session only; a bot makes none",
    "HTTPSession": "it is the session of a client of ChatView; a bot makes none",
    "ChainlitEmitter": "it warns of what the page cannot show",
    "chat_context": (
        "get() gives copies; it has the latest messages, also after a restart, and the questions "
        "of Ask…Messages as well as their answers"
    ),
}

#: Names, and what to do instead.
_MISSING = {
    "password_auth_callback header_auth_callback oauth_callback Provider": _LOGIN,
    "on_logout": (
        "connect to Django's signal user_logged_out; chatsessions.end_session() ends sessions"
    ),
    "on_app_startup": "Django has a place for it: AppConfig.ready()",
    "on_app_shutdown": (
        "@chatsessions.session_lifespan closes what a session has opened, at the server's end too"
    ),
    """
        on_audio_start on_audio_chunk on_audio_end InputAudioChunk OutputAudioChunk
        InputAudioChunkPayload
    """: _AUDIO,
    """
        on_mcp_connect on_mcp_disconnect McpSession ConnectMCPRequest ConnectStdioMCPRequest
        ConnectSseMCPRequest ConnectStreamableHttpMCPRequest DisconnectMCPRequest
    """: _MCP,
    "on_settings_edit": "write on_settings_update: the page sends what the user confirms",
    "on_shared_thread_view": "write a Django view over ChatSession and its events",
    "on_slack_reaction_added": _PLATFORM,
    """
        data_layer Pagination PaginatedResponse PageInfo ThreadFilter HasFromDict clean_metadata
        JSONEncoderIgnoreNonSerializable
    """: _STORED,
    "AskElementMessage AskElementSpec AskElementResponse": (
        "ask with AskActionMessage, or emit an event of your own and take the answer with "
        "chatsessions.on_event(…)"
    ),
    "Dataframe": (
        "send a Message with data.to_string(), or a File(name='data.csv', content=data.to_csv())"
    ),
    "Plotly": "send an Image(content=figure.to_image('png')), or a File with figure.to_html()",
    "CustomElement ElementSidebar": _DRAWN,
    "CopilotFunction": _COPILOT,
    """
        init_ws_context init_http_context user_sessions chat_contexts ws_sessions_id
        ws_sessions_sid
    """: _OUTSIDE,
    "config": _CONFIG,
    """
        server MessagePayload CallActionRequest ElementRequest GetThreadsRequest
        UpdateThreadRequest ShareThreadRequest DeleteThreadRequest ThreadQueue
    """: _SERVER,
    "mount_chainlit": _MOUNT,
    "ChatGeneration CompletionGeneration GenerationMessage": (
        "keep what a model has said in the metadata of a Step or a Message"
    ),
    """
        LangchainCallbackHandler AsyncLangchainCallbackHandler LlamaIndexCallbackHandler
        SemanticKernelFilter instrument_openai instrument_mistralai init_lc_cache
    """: _TRACING,
    "FeedbackDict FeedbackStrategy UpdateFeedbackRequest DeleteFeedbackRequest": (
        "what users think is in the model SessionFeedback, which the session writes"
    ),
    "Theme": "your page's template and its styles say how it looks",
}

_MODULES = """
    types user_session context session action message element step user input_widget chat_context
    chat_settings sync emitter logger callbacks cache mode
"""

_MISSING_MODULES = {
    "config": _CONFIG,
    "data": _STORED,
    "server socket": _SERVER,
    "cli": "write 'chatsessions run bot.py -w', or 'python -m chatsessions run bot.py'",
    "auth oauth_providers": _LOGIN,
    "secret": "secrets.token_urlsafe() makes one; Django's is settings.SECRET_KEY",
    "langchain llama_index langflow openai mistralai semantic_kernel haystack": _TRACING,
    "mcp": _MCP,
    "sidebar": _DRAWN,
    "copilot": _COPILOT,
    "slack discord teams": _PLATFORM,
    "utils": _MOUNT,
    "markdown": "the text beside the chat is in your page's template",
    "translations": "texts of the page are translated as those of any Django app",
}

_UNKNOWN = (
    "If Chainlit has it, it is internal there; docs/from-chainlit.md, 'Coming from Chainlit', "
    "has all names that bots use"
)


def _table(state: Literal["works", "differs", "missing"], texts: dict[str, str]) -> dict[str, Name]:
    """Return the names in the keys of ``texts``, each with its state and text."""
    return {
        name: Name(state=state, text=text)
        for names, text in texts.items()
        for name in names.split()
    }


NAMES: dict[str, Name] = (
    _table("works", {_WORKS: ""}) | _table("differs", _DIFFERS) | _table("missing", _MISSING)
)
#: The submodules.
MODULES: dict[str, Name] = _table("works", {_MODULES: ""}) | _table("missing", _MISSING_MODULES)


def missing_from(module: str) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of a module: it raises an error that says what to do instead."""

    def missing(name: str) -> Any:
        known = NAMES.get(name)
        message = f"module {module!r} has no attribute {name!r}"
        if known is not None and known.state == "missing":
            message += f". Instead: {known.text}"
        elif known is not None and module != PACKAGE:
            message += f": import it from {PACKAGE}"
        elif known is None and not name.startswith("__"):
            message += f". {_UNKNOWN}"
        frame = sys._getframe(1)
        if frame.f_code.co_code[frame.f_lasti] == dis.opmap["IMPORT_FROM"]:
            # Here Python would not show the message of an AttributeError.
            raise ImportError(message, name=module)
        raise AttributeError(message, name=name, obj=sys.modules.get(module))

    return missing


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

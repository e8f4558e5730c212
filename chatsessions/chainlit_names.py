"""
Names of Chainlit's that are not here, and what there is instead.

``from chatsessions import Step`` fails with a sentence rather than with "cannot import name".
"""

from __future__ import annotations

import sys
from typing import Any

_METADATA = "put JSON into Message(metadata={...}), or emit an event of your own and draw it"
_FILES = "give the message files (Message(files=[...])), or a URL in its metadata"
_LOGIN = (
    "log in with Django (django.contrib.auth, django-allauth, …) and write "
    "ChatConsumer.as_asgi(chat=…, login_required=True); user_session['user'] is the Django user"
)
_DATA = "sessions and their logs are rows: the models ChatSession and SessionEvent, and the admin"
_STEP = (
    "emit an event of your own (await context.emitter.emit('step', {...})) and draw it on the "
    "page, or send a Message and update() it"
)
_AUDIO = "send what was recorded as a file, or as events of your own: @on_event('audio')"
_LLM = (
    "call the library's own client and pass its tokens to Message.stream_token(); its callbacks "
    "run in the context by bind_context()"
)
_MCP = "connect to the server in @session_lifespan and keep the client in user_session.local"
_MODEL = "there are no steps to keep it in: call the library's own client, and send what it says"
_STARTERS = "send a Message with actions in @on_chat_start, or put buttons on the page"

#: By name: what to use instead.
INSTEAD: dict[str, str] = {
    "Step": _STEP,
    "step": _STEP,
    "Task": _STEP,
    "TaskList": _STEP,
    "TaskStatus": _STEP,
    "Element": _METADATA,
    "Component": _METADATA,
    "Text": "send a Message with the text, or one with files",
    "Image": _FILES,
    "File": _FILES,
    "Pdf": _FILES,
    "Audio": _FILES,
    "Video": _FILES,
    "Plotly": _METADATA,
    "Pyplot": "save the figure as an image, and " + _FILES,
    "Dataframe": _METADATA,
    "CustomElement": _METADATA,
    "ElementSidebar": _METADATA,
    "data_layer": _DATA,
    "data": _DATA,
    "ThreadDict": "on_chat_resume gets an object with the dict's keys: annotate it with Thread",
    "password_auth_callback": _LOGIN,
    "oauth_callback": _LOGIN,
    "header_auth_callback": _LOGIN,
    "token_query_param_auth_callback": _LOGIN,
    "on_logout": "connect to Django's signal user_logged_out; see chatsessions.end_session()",
    "User": "the user is Django's: user_session['user']",
    "PersistedUser": "the user is Django's: user_session['user']",
    "on_audio_start": _AUDIO,
    "on_audio_chunk": _AUDIO,
    "on_audio_end": _AUDIO,
    "AudioChunk": _AUDIO,
    "InputAudioChunk": _AUDIO,
    "OutputAudioChunk": _AUDIO,
    "author_rename": "name the author where you send: Message(author='…')",
    "set_starters": _STARTERS,
    "set_starter_categories": _STARTERS,
    "Starter": _STARTERS,
    "StarterCategory": _STARTERS,
    "on_feedback": "offer actions on the message, or emit an event of your own",
    "on_shared_thread_view": "write a Django view over ChatSession and its events",
    "on_app_startup": "Django has a place for it: AppConfig.ready()",
    "on_app_shutdown": "Django has no such hook; @on_chat_end runs for each session that ends",
    "on_mcp_connect": _MCP,
    "on_mcp_disconnect": _MCP,
    "CopilotFunction": "use send_window_message() and @on_window_message",
    "AskElementMessage": "emit an event of your own, and take the answer with @on_event",
    "Sidebar": _METADATA,
    "ChatGeneration": _MODEL,
    "CompletionGeneration": _MODEL,
    "GenerationMessage": _MODEL,
    "LangchainCallbackHandler": _LLM,
    "AsyncLangchainCallbackHandler": _LLM,
    "LlamaIndexCallbackHandler": _LLM,
    "HaystackAgentCallbackHandler": _LLM,
    "instrument_openai": _LLM,
    "instrument_mistralai": _LLM,
    "cache": "decorate the function with functools.cache, or use django.core.cache",
    "config": "settings are Django's: settings.CHATSESSIONS",
    "server": "the server is Django's: ASGI_APPLICATION",
}


class NotFromChainlit(AttributeError):
    """
    A name that Chainlit has and this package has not.

    ``instead`` says what to use; so does the message.
    """

    def __init__(self, name: str, instead: str) -> None:
        self.instead = instead
        super().__init__(sentence(name), name=name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.name, self.instead)


def sentence(name: str) -> str:
    """What whoever asks for ``name`` is told."""
    return f"chatsessions has no {name!r}, which is Chainlit's. Instead: {INSTEAD[name]}."


def missing(name: str, module: str) -> AttributeError | ImportError:
    """
    The error for ``name``, which ``module`` has not; to be called by its ``__getattr__``.

    An import statement makes an error of its own out of an ``AttributeError``, but lets an
    ``ImportError`` pass.
    """
    if name not in INSTEAD:
        return AttributeError(f"module {module!r} has no attribute {name!r}")
    if sys._getframe(2).f_code.co_name == "_handle_fromlist":  # importlib's, for ``from … import``
        return ImportError(sentence(name), name=module)
    return NotFromChainlit(name, INSTEAD[name])

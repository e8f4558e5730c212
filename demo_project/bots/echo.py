"""Settings: says what you say, the way you want it."""

from typing import Any

from chatsessions import Chat, ChatSettings, Message, user_session
from chatsessions.input_widget import Select, Slider, Switch, Tags, TextInput

chat = Chat("echo")

VOICES = {"As it is": "plain", "Loud": "loud", "Backwards": "backwards"}


@chat.on_chat_start
async def start() -> None:
    await ChatSettings(
        [
            Select(id="voice", label="Voice", items=VOICES, initial_value="plain"),
            Slider(id="times", label="How often", initial=1, min=1, max=5, step=1),
            Switch(id="count", label="Number the lines", initial=False),
            TextInput(id="sign", label="Signature", placeholder="Yours, Echo"),
            Tags(
                id="taboo",
                label="Words to leave out",
                description="As they are written, with small and capital letters.",
            ),
        ]
    ).send()
    await Message("I say what you say. The settings, above, say how.").send()


@chat.on_settings_update
async def updated(values: dict[str, Any]) -> None:
    voice = next(label for label, value in VOICES.items() if value == values["voice"])
    await Message(f"From now on: {voice.lower()}, {values['times']:g} time(s).").send()


@chat.on_message
async def repeat(message: Message) -> None:
    await Message(spoken(message.content, user_session["chat_settings"])).send()


def spoken(text: str, settings: dict[str, Any]) -> str:
    for word in settings["taboo"]:
        text = text.replace(word, "…")
    if settings["voice"] == "loud":
        text = text.upper()
    elif settings["voice"] == "backwards":
        text = text[::-1]
    lines = [text] * int(settings["times"])
    if settings["count"]:
        lines = [f"{number}. {line}" for number, line in enumerate(lines, start=1)]
    return "\n".join([*lines, *filter(None, [settings["sign"]])])

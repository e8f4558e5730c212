"""Bots for what the demo's bots never do."""

import asyncio
from io import BytesIO
from typing import Any
from wave import open as open_wave

from chatsessions import (
    Action,
    AskFileMessage,
    AskUserMessage,
    Chat,
    ChatSettings,
    Feedback,
    Message,
    Starter,
    Step,
    context,
    send_window_message,
    user_session,
)
from chatsessions.input_widget import (
    Checkbox,
    DatePicker,
    MultiSelect,
    NumberInput,
    RadioGroup,
    Tab,
    TextInput,
)
from tests.support.hostile import HEAVY, HOSTILE

#: Says nothing at first, echoes markup, and fails.
chat = Chat("parrot")


@chat.on_message
async def repeat(message: Message) -> None:
    if message.content == "fail":
        raise RuntimeError("a secret of the server")
    if message.content == "stumble":
        await Message().stream_token("")
        raise RuntimeError("before the first word")
    if message.content == "swear":
        message.content = "* * *"
        await message.update()
        return
    if message.content == "unsay":
        await message.remove()
        return
    await Message(message.content, author=message.content).send()
    streamed = Message()
    for piece in message.content:
        await streamed.stream_token(piece)
    await streamed.send()


@chat.on_event("picture")
async def picture() -> None:
    [file] = await AskFileMessage("One picture, please.", accept=["image/*"]).send() or []
    await Message(f"{file.name}, {file.size} bytes").send()


@chat.on_window_message
async def seen(data: Any) -> None:
    await send_window_message({"seen": data})


#: Works in steps, has settings behind tabs, and files of many kinds.
workshop = Chat("workshop")


@workshop.starters
async def starters() -> list[Starter]:
    return [Starter("Think it over", "think", icon="search"), Starter("Show me", "files")]


@workshop.on_chat_start
async def offer() -> None:
    trip = [
        DatePicker(id="day", label="Day", max_date="2026-12-31"),
        DatePicker(id="stay", label="Stay", mode="range"),
        NumberInput(id="budget", label="Budget", description="In euros."),
    ]
    taste = [
        Checkbox(id="sure", label="I am sure"),
        RadioGroup(id="size", label="Size", values=["small", "large"], initial_index=0),
        MultiSelect(id="food", label="Food", values=["fish", "bread"], initial=["fish"]),
        TextInput(id="fixed", label="Fixed", initial="so", disabled=True),
    ]
    await ChatSettings(
        [Tab(id="trip", label="Trip", inputs=trip), Tab(id="taste", label="Taste", inputs=taste)]
    ).send()


@workshop.on_message
async def work(message: Message) -> None:
    if message.content == "think":
        async with Step("Think", input={"about": "rain"}) as whole:
            async with Step("Read <b>it</b>", type="llm") as part:
                for word in ("one ", "two ", "three"):
                    await part.stream_token(word)
            whole.output = "thought"
        try:
            async with Step("Ask"):
                raise ValueError("a secret of the server")
        except ValueError:
            await Message("Thought.").send()
    elif message.content == "brood":
        async with Step("Brood"), Step("Mutter") as muttered:
            await muttered.stream_token("so far")
            await asyncio.Event().wait()
    elif message.content == "haul":
        for value in (1, 3):
            report = {"value": value, "max": 4, "label": "Hauling"}
            await context.emitter.emit("progress", report)
        await asyncio.Event().wait()
    elif message.content == "files":
        sound = BytesIO()
        with open_wave(sound, "wb") as written:
            written.setparams((1, 2, 8000, 0, "NONE", ""))
            written.writeframes(bytes(16000))
        files = {
            "tone.wav": sound.getvalue(),
            "notes.txt": b"<b>first</b>\nsecond",
            "paper.pdf": PDF,
            "clip.mp4": b"no film",
            "page.html": b"<script>alert(1)</script>",
        }
        saved = [await context.session.save_file(name, data) for name, data in files.items()]
        await Message("Here.", files=saved).send()
    else:
        await Message(str(user_session["chat_settings"][message.content])).send()


#: An empty page.
PDF = b"""%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>endobj
trailer<</Root 1 0 R>>
"""

#: Wants to know what is thought of its answers.
critic = Chat("critic")


@critic.on_message
async def criticize(message: Message) -> None:
    answer = Message()
    for token in ("re ", message.content):
        await answer.stream_token(token)
    await answer.send()
    user_session["answer"] = answer


@critic.on_event("mend")
async def mend(_: Any) -> None:
    answer: Message = user_session["answer"]
    answer.content += ", mended"
    await answer.update()


@critic.on_feedback
async def thank(feedback: Feedback) -> None:
    await context.emitter.emit("heard", feedback.value)


#: Lets its user think again.
patient = Chat("patient", edits=True)


@patient.on_message
async def answer_again(message: Message) -> None:
    with Step(name="think") as step:
        step.output = message.content
    if message.content == "ask":
        await AskUserMessage("What?").send()
    if message.content == "wait":
        try:
            await Message("waiting").send()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await Message("too late").send()
            raise
    await Message(f"re {message.content}, {len(message.elements)} file(s)").send()


#: Keeps its status at the end: takes it away with its steps, and sends it again below the news.
keeper = Chat("keeper")


@keeper.on_message
async def keep_last(message: Message) -> None:
    whole = Step("Whole")
    part = Step("Part", parent=whole)
    status = Message()
    for number in range(3):
        for one in (whole, part, status):
            await one.remove()
        await Message(f"news {number}").send()
        for step in (whole, part):
            step.output = f"{step.name} {number}"
            await step.finish()
        if number == 0:  # it goes with the step that it is part of, and does not come back
            once = Step("Once", parent=part)
            await once.finish()
            await Step("Within", parent=once).finish()
        status.content = f"status {number}"
        status.actions = [Action("press", label=f"Press {number}")]
        await status.send()


#: Writes Markdown.
writer = Chat("writer", message_format="markdown")


@writer.on_message
async def write(message: Message) -> None:
    await Message(message.content).send()


@writer.on_event("grow")
async def grow(pieces: list[str | None]) -> None:
    """Stream. The page says when what follows a ``None`` comes, and when the stream ends."""
    growing = Message()
    for piece in pieces:
        if piece is None:
            await context.emitter.call("more")
        else:
            await growing.stream_token(piece)
    await context.emitter.call("end")
    await growing.send()


@writer.on_event("all")
async def everything(text: str) -> None:
    """Say it in every place that takes Markdown."""
    await Message(text).send()
    async with Step("Think", format="markdown") as step:
        await step.stream_token(text)
    await AskUserMessage(text).send()


@writer.on_event("hostile")
async def hostile(_: Any) -> None:
    for text in HOSTILE:
        await Message(text, author=text).send()
    name = "<img src=x onerror=alert(1)>.txt"
    await Message("a file", files=[await context.session.save_file(name, b"text")]).send()


@writer.on_event("heavy")
async def heavy(name: str) -> None:
    await Message(HEAVY[name]).send()

"""Questions about a file: a text or a PDF is read by the model, and remembered by the session."""

import base64
import os

from anthropic import AsyncAnthropic

import chatsessions as cl

MODEL = os.environ.get("ANTHROPIC_MODEL", "claude-sonnet-5")
#: The service takes no more in one request, and base64 makes it a third larger.
MAX_BYTES = 20 * 2**20


@cl.session_lifespan
async def anthropic():
    async with AsyncAnthropic() as client:
        cl.user_session.local["anthropic"] = client
        yield


@cl.on_message
async def answer(message: cl.Message):
    if message.files:
        cl.user_session["file"] = message.files[0]
    file = cl.user_session.get("file") or await ask_for_file()
    if file is None:
        return
    try:
        document = await as_document(file)
    except ValueError as error:
        await cl.ErrorMessage(str(error)).send()
        return
    reply = cl.Message()
    async with cl.user_session.local["anthropic"].messages.stream(
        model=MODEL,
        max_tokens=4096,
        messages=[
            {
                "role": "user",
                "content": [document, {"type": "text", "text": message.content}],
            }
        ],
    ) as stream:
        async for text in stream.text_stream:
            await reply.stream_token(text)
    await reply.send()


async def ask_for_file() -> cl.ChatFile | None:
    files = await cl.AskFileMessage(
        "Which file is it about?",
        accept=["text/*", "application/pdf"],
        max_size_mb=20,
        timeout=600,
    ).send()
    if files is None:
        return None
    cl.user_session["file"] = files[0]
    return files[0]


async def as_document(file: cl.ChatFile) -> dict:
    """Return a file as the service takes it. Raises ``ValueError`` for one that is no document."""
    if file.size > MAX_BYTES:
        raise ValueError(f"{file.name} is too large.")
    content = await file.read()
    if file.mime == "application/pdf":
        source = {
            "type": "base64",
            "media_type": file.mime,
            "data": base64.b64encode(content).decode(),
        }
    else:
        try:
            text = content.decode()
        except UnicodeDecodeError:
            raise ValueError(f"{file.name} is neither a text nor a PDF.") from None
        source = {"type": "text", "media_type": "text/plain", "data": text}
    return {"type": "document", "title": file.name, "source": source}

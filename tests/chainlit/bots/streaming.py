"""Messages that are streamed, changed and taken back."""

import chatsessions.chainlit as cl


@cl.on_message
async def main(message: cl.Message):
    msg = cl.Message(content="", author="Poet")
    for token in ["Roses", "", " are", None, " red"]:
        await msg.stream_token(token)
    await msg.send()
    msg.content = msg.content.replace("red", "blue")
    assert await msg.update() is True
    parts = cl.Message(content="")
    await parts.stream_token("One")
    await parts.stream_token("Two", is_sequence=True)
    await parts.update()
    gone = await cl.Message(content="A secret").send()
    assert await gone.remove() is True
    data = await cl.Message(content={"a": [1, 2]}, language="json", metadata={"k": "v"}).send()
    await cl.ErrorMessage(content="Nothing is wrong").send()
    copy = cl.Message.from_dict(data.to_dict())
    await cl.Message(content=str(copy.id == data.id), parent_id=message.id, tags=["end"]).send()

"""Questions to the user: a text, a choice, a file; and a button under a message."""

import chatsessions.chainlit as cl


@cl.on_chat_start
async def main():
    res = await cl.AskUserMessage(content="What is your name?", timeout=30).send()
    if res:
        await cl.Message(content=f"Your name is: {res['output']}").send()
    res = await cl.AskActionMessage(
        content="Pick an action!",
        actions=[
            cl.Action(name="continue", payload={"value": "continue"}, label="Continue"),
            cl.Action(name="cancel", payload={"value": "cancel"}, label="Cancel"),
        ],
    ).send()
    if res and res.get("payload").get("value") == "continue":
        await cl.Message(content="Continue!").send()
    files = None
    while files is None:
        files = await cl.AskFileMessage(
            content="Please upload a text file!", accept=["text/plain"], max_size_mb=1
        ).send()
    text_file = files[0]
    with open(text_file.path, encoding="utf-8") as f:
        text = f.read()
    await cl.Message(
        content=f"`{text_file.name}` of {text_file.size} bytes has {len(text)} characters!",
        actions=[cl.Action("again", {"text": text}, "Say it", "Says what is in it")],
    ).send()


@cl.action_callback("again")
async def on_action(action: cl.Action):
    await cl.Message(content=f"{action.payload['text']} (of {action.forId is not None})").send()
    await action.remove()
    return "done"

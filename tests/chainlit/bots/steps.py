"""What the bot does, as steps: nested, streamed, with language and errors."""

import chatsessions.chainlit as cl


@cl.step(type="tool", name="Search")
async def search(query):
    async with cl.Step(name="Index", type="retrieval", show_input="json") as step:
        step.input = {"query": query}
        step.output = ["one", "two"]
    return f"2 results for {query}"


@cl.step
def count(text):
    return len(text)


@cl.step(type="llm", show_input=False)
async def think(text):
    step = cl.context.current_step
    for token in ("I ", "think ", "so."):
        await step.stream_token(token)
    return step.output


@cl.step(type="run")
async def fail():
    raise ValueError("No such thing")


@cl.on_message
async def main(message: cl.Message):
    async with cl.Step(name="Work", type="run", id="work-1") as parent:
        parent.input = message.content
        found = await search(message.content)
        await think(found)
        parent.output = f"{count(message.content)} letters"
    try:
        await fail()
    except ValueError as error:
        await cl.Message(f"It failed: {error}").send()
    step = cl.Step(name="Last", type="tool", parent_id=parent.id)
    await step.send()
    step.output = "first"
    await step.update()
    step.output = "second"
    await step.update()
    gone = await cl.Step(name="Gone").send()
    await gone.remove()
    roles = ", ".join(one["role"] for one in cl.chat_context.to_openai())
    await cl.Message(content=f"{found}. The conversation: {roles}").send()

"""A graph: one node looks something up, the next one answers; both are seen at work."""

import os
from typing import TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from openai import AsyncOpenAI

import chatsessions as cl

MODEL = os.environ.get("OPENAI_MODEL", "gpt-5-mini")
NOTES = {
    "returns": "Goods may be returned within 30 days, unused, with the receipt.",
    "delivery": "Delivery takes two days, and costs nothing from 40 euros on.",
}


class State(TypedDict):
    messages: list[dict]
    notes: list[str]


@cl.step(type="retrieval")
async def look_up(question: str) -> list[str]:
    return [note for subject, note in NOTES.items() if subject in question.lower()]


async def retrieve(state: State):
    return {"notes": await look_up(state["messages"][-1]["content"])}


async def respond(state: State):
    say = get_stream_writer()
    notes = "\n".join(state["notes"]) or "nothing"
    instructions = {"role": "system", "content": f"Answer from these notes alone:\n{notes}"}
    chunks = await cl.user_session.local["openai"].chat.completions.create(
        model=MODEL, messages=[instructions, *state["messages"]], stream=True
    )
    async with chunks:
        async for chunk in chunks:
            if chunk.choices and chunk.choices[0].delta.content:
                say(chunk.choices[0].delta.content)


builder = StateGraph(State)
builder.add_node("retrieve", retrieve)
builder.add_node("respond", respond)
builder.add_edge(START, "retrieve")
builder.add_edge("retrieve", "respond")
builder.add_edge("respond", END)
graph = builder.compile()


@cl.session_lifespan
async def openai():
    async with AsyncOpenAI() as client:
        cl.user_session.local["openai"] = client
        yield


@cl.on_message
async def answer(message: cl.Message):
    reply = cl.Message()
    state = {"messages": cl.chat_context.to_openai(), "notes": []}
    async for token in graph.astream(state, stream_mode="custom"):
        await reply.stream_token(token)
    await reply.send()

"""Tools that a model calls, with pydantic for their arguments and for what is remembered."""

import json

from fake_llm import AsyncClient
from pydantic import BaseModel

import chatsessions.chainlit as cl

client = AsyncClient()


class WeatherArguments(BaseModel):
    city: str
    days: int = 1


class Forecast(BaseModel):
    city: str
    degrees: list[int]


TOOLS = [
    {
        "type": "function",
        "function": {"name": "get_weather", "parameters": WeatherArguments.model_json_schema()},
    }
]


@cl.step(type="tool")
async def get_weather(arguments: WeatherArguments):
    current_step = cl.context.current_step
    current_step.name = "The weather"
    forecast = Forecast(city=arguments.city, degrees=[20 + day for day in range(arguments.days)])
    cl.user_session.get("forecasts").append(forecast)
    cl.user_session.set("last", forecast)
    return forecast.model_dump_json()


@cl.on_chat_start
async def start():
    cl.user_session.set("forecasts", [])


@cl.on_message
async def main(message: cl.Message):
    if message.content == "history":
        forecasts = cl.user_session.get("forecasts")
        last = cl.user_session.get("last")
        names = ", ".join(f"{one.city} {one.degrees[-1]}" for one in forecasts)
        await cl.Message(f"{names}; last {last.city}").send()
        return
    messages = [{"role": "user", "content": message.content}]
    response = await client.chat.completions.create(messages=messages, tools=TOOLS)
    for call in response.choices[0].message.tool_calls:
        arguments = WeatherArguments(**json.loads(call.function.arguments))
        result = await get_weather(arguments)
        messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    answer = await client.chat.completions.create(messages=messages)
    await cl.Message(content=answer.choices[0].message.content, author="Weather").send()

"""The job: a Celery task that streams a model's answer into the tab where it was asked."""

import os

from celery import shared_task
from openai import OpenAI

from chatsessions import Message, emit_to, session_context

MODEL = os.environ.get("OPENAI_MODEL", "gpt-5-mini")


@shared_task
def answer(session_id: str, messages: list) -> None:
    emit_to(session_id, "job", {"state": "running"})
    with session_context(session_id), OpenAI() as client:
        reply = Message()
        for chunk in client.chat.completions.create(model=MODEL, messages=messages, stream=True):
            if chunk.choices and chunk.choices[0].delta.content:
                reply.stream_token(chunk.choices[0].delta.content)
        reply.send()
    emit_to(session_id, "job", {"state": "done"})

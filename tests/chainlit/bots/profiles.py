"""Profiles to choose from, starters in one of them, and settings of every kind."""

import chatsessions.chainlit as cl
from chatsessions.chainlit.input_widget import (
    Checkbox,
    DatePicker,
    MultiSelect,
    NumberInput,
    RadioGroup,
    Select,
    Slider,
    Switch,
    Tab,
    Tags,
    TextInput,
)


@cl.set_chat_profiles
async def chat_profile(current_user: cl.User | None):
    return [
        cl.ChatProfile(
            name="Small",
            markdown_description="A **small** model.",
            icon="https://example.com/s.png",
        ),
        cl.ChatProfile(name="Large", markdown_description="A large one.", default=True),
    ]


@cl.on_chat_start
async def start():
    settings = await cl.ChatSettings(
        [
            Select(id="Model", label="Model", values=["a", "b", "c"], initial_index=1),
            Switch(id="Streaming", label="Stream tokens", initial=True),
            Slider(id="Temperature", label="Temperature", initial=1, min=0, max=2, step=0.1),
            TextInput(id="Agent", label="Agent name", initial="AI", placeholder="A name"),
            Tags(id="Stop", label="Stop words", initial=["answer"]),
            NumberInput(id="Tokens", label="Tokens", initial=256),
            MultiSelect(id="Tools", label="Tools", values=["web", "code"], initial=["web"]),
            Checkbox(id="Terms", label="I agree", initial=False),
            RadioGroup(id="Tone", label="Tone", values=["kind", "short"], initial_index=0),
            DatePicker(id="Day", label="Day", initial="2025-01-02", format="dd.MM.yyyy"),
        ]
    ).send()
    profile = cl.user_session.get("chat_profile")
    await cl.Message(content=f"{profile}: {settings['Model']}, {settings['Temperature']}").send()


@cl.on_settings_update
async def setup_agent(settings):
    kept = cl.user_session.get("chat_settings")
    await cl.Message(
        content=f"Settings: {settings['Model']}, {kept['Tools']}, {kept['Day']}"
    ).send()


@cl.on_message
async def tabs(message: cl.Message):
    await cl.ChatSettings(
        [
            Tab(id="one", label="One", inputs=[TextInput(id="Name", label="Name", initial="x")]),
            Tab(id="two", label="Two", inputs=[Switch(id="On", label="On", disabled=True)]),
        ]
    ).send()
    await cl.Message(content=str(sorted(cl.user_session.get("chat_settings")))).send()

"""Elements with messages: from bytes, from a path, with a text, and beside."""

from pathlib import Path

import chatsessions.chainlit as cl

#: One transparent pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c02"
    "0000000b4944415478da6364f80f00010501012718e3660000000049454e44ae426082"
)


class Figure:
    """What a figure of matplotlib does with a file."""

    def savefig(self, file, **_options):
        file.write(PNG)


@cl.on_chat_start
async def start():
    plot = cl.Pyplot(name="plot", figure=Figure(), display="inline")
    await cl.Message(content="A plot", elements=[plot]).send()
    image = cl.Image(name="pixel.png", display="inline", content=PNG)
    await cl.Message(content="A picture", elements=[image]).send()
    text = cl.Text(name="A poem", content="Roses are red", display="inline")
    code = cl.Text(name="code", content="print(1)", language="python")
    await cl.Message(content="Some texts", elements=[text, code]).send()
    here = Path(__file__)
    await cl.Message(
        content="Files",
        elements=[
            cl.File(name=here.name, path=str(here)),
            cl.Pdf(name="a.pdf", content=b"%PDF-1.4\n%%EOF\n", page=1),
            cl.Audio(name="a.wav", content=b"RIFF$\0\0\0WAVEfmt ", auto_play=False),
            cl.Video(name="a.mp4", content=b"\0\0\0\x18ftypmp42", mime="video/mp4"),
        ],
    ).send()


@cl.on_message
async def main(message: cl.Message):
    for element in message.elements:
        suffix = Path(element.path).suffix
        data = Path(element.path).read_bytes()
        said = f"{element.type} {element.name} {element.mime} {suffix} {len(data)}"
        await cl.Message(content=said).send()
    if not message.elements:
        later = cl.Message(content="Without")
        await later.send()
        later.elements = [cl.Image(name="late.png", content=PNG, size="small")]
        await later.update()

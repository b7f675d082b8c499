"""LlamaIndex's messages become the backend's: every block is converted, or an error names it."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    CitableBlock,
    CitationBlock,
    ContentBlock,
    DocumentBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.schema import Document, ImageDocument, ImageNode, MediaResource

from llama_index.llms.llava import Llava
from llama_index.llms.llava.images import ImageInput
from llama_index.llms.llava.messages import to_messages, to_question
from llava_tools.core.constraints import ToolCall
from llava_tools.core.requests import Message, Role
from llava_tools.errors import ImageError, RequestError
from llava_tools.images import ImageRef, open_image
from llava_tools.images.access import ImageResolver
from llava_tools.images.store import shared_store
from llava_tools.testing import ScriptedBackend


def _message(message: ChatMessage, resolver: ImageResolver | None = None) -> Message:
    (converted,) = to_messages([message], resolver or ImageResolver())
    return converted


def _image(block: ImageBlock, resolver: ImageResolver | None = None) -> ImageRef:
    (image,) = _message(ChatMessage(blocks=[block]), resolver).images
    return image


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("system", "system"),
        ("developer", "system"),
        ("user", "user"),
        ("assistant", "assistant"),
        ("chatbot", "assistant"),
        ("model", "assistant"),
    ],
)
def test_roles(role: str, expected: Role) -> None:
    assert _message(ChatMessage("hi", role=role)) == Message(expected, ("hi",))


def test_bytes_base64_files_paths_and_urls_give_the_same_image(
    png: bytes, png_base64: str, image_server: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png)
    expected = open_image(png)
    host = image_server.removeprefix("http://")
    allowed = ImageResolver(allow_local_paths=True, allowed_hosts=[host])
    blocks = [
        ImageBlock(image=png),
        ImageBlock(image=png_base64.encode()),
        ImageBlock(image=io.BytesIO(png)),
        ImageBlock.model_construct(image=png),
        ImageBlock(url=f"data:image/png;base64,{png_base64}"),
        ImageBlock(url=f"{image_server}/a.png"),
        ImageBlock(path=path),
        ImageBlock.model_validate(ImageBlock(image=png).model_dump()),
    ]
    assert [_image(block, allowed) for block in blocks] == [expected] * len(blocks)


def test_an_open_file_is_rewound_before_each_read(png: bytes) -> None:
    block = ImageBlock(image=io.BytesIO(png))
    assert _image(block) == _image(block)


def test_texts_and_images_keep_their_order(png: bytes) -> None:
    message = ChatMessage(
        blocks=[
            TextBlock(text="a"),
            TextBlock(text="b"),
            ImageBlock(image=png),
            TextBlock(text="c"),
        ]
    )
    assert _message(message).content == ("a", "\nb", open_image(png), "c")
    assert _message(ChatMessage(blocks=message.blocks[:2])).text == "a\nb"  # as ChatMessage.content


def test_local_paths_need_allow_local_paths(tmp_path: Path, png: bytes) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(png)
    with pytest.raises(ImageError, match=r"secret.png.*allow_local_paths=True"):
        _image(ImageBlock(path=path))
    assert _image(ImageBlock(path=path), ImageResolver(allow_local_paths=True)) == open_image(png)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://169.254.169.254/", "ftp://a/b.png"])
def test_urls_of_files_and_private_addresses_are_refused(url: str) -> None:
    with pytest.raises(ImageError):
        _image(ImageBlock(url=url), ImageResolver(allow_local_paths=True))


def test_a_private_server_is_refused_unless_allowed(image_server: str) -> None:
    with pytest.raises(ImageError, match="allowed_hosts"):
        _image(ImageBlock(url=f"{image_server}/a.png"))


@pytest.mark.parametrize(
    "block",
    [
        AudioBlock(audio=b"RIFF0000WAVE", format="wav"),
        VideoBlock(video=b"0000ftypmp42"),
        DocumentBlock(data=b"%PDF-1.4", document_mimetype="application/pdf"),
    ],
)
def test_other_media_raise_an_error_that_names_the_block(block: ContentBlock) -> None:
    with pytest.raises(RequestError, match=f"{type(block).__name__}.*text and images only"):
        _message(ChatMessage(blocks=[TextBlock(text="hi"), block]))


def test_image_blocks_without_a_usable_image_raise(png: bytes) -> None:
    with pytest.raises(ImageError, match="holds no image"):
        _image(ImageBlock())
    with pytest.raises(ImageError, match="not an image"):
        _image(ImageBlock(image=b"hello there, I am text"))
    with pytest.raises(RequestError, match="assistant"):
        _message(ChatMessage(role="assistant", blocks=[ImageBlock(image=png)]))


def test_thoughts_and_cache_points_are_dropped_and_citations_kept(png: bytes) -> None:
    blocks: list[ContentBlock] = [
        ThinkingBlock(content="hm"),
        CachePoint(cache_control=CacheControl(type="ephemeral")),
        CitableBlock(
            title="t", source="s", content=[TextBlock(text="page"), ImageBlock(image=png)]
        ),
        CitationBlock(
            cited_content=TextBlock(text="cited"),
            source="s",
            title="t",
            additional_location_info={},
        ),
    ]
    assert _message(ChatMessage(blocks=blocks)).content == ("page", open_image(png), "cited")


def test_calls_and_their_results(png: bytes) -> None:
    call = ToolCallBlock(tool_call_id="c1", tool_name="look", tool_kwargs={"at": "img_1"})
    message = _message(ChatMessage(role="assistant", blocks=[TextBlock(text="wait"), call]))
    assert message == Message("assistant", ("wait",), (ToolCall("c1", "look", {"at": "img_1"}),))
    blocks = [TextBlock(text="here"), ImageBlock(image=png)]
    result = ChatMessage(role="tool", blocks=blocks, additional_kwargs={"tool_call_id": "c1"})
    assert _message(result) == Message("tool", ("here", open_image(png)), tool_call_id="c1")


@pytest.mark.parametrize("arguments", ['{"at": "img_1"}', {"at": "img_1"}])
def test_calls_in_additional_kwargs(arguments: object) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": arguments}}
    message = ChatMessage("", role="assistant", additional_kwargs={"tool_calls": [call]})
    assert _message(message).tool_calls == (ToolCall("c1", "look", {"at": "img_1"}),)
    with pytest.raises(RequestError, match="no call"):
        _message(ChatMessage("", role="assistant", additional_kwargs={"tool_calls": ["look()"]}))


@pytest.mark.parametrize("role", ["tool", "function"])
def test_a_tool_result_without_an_id_keeps_the_name_of_its_tool(role: str) -> None:
    result = ChatMessage("red", role=role, additional_kwargs={"name": "look"})
    assert _message(result) == Message("tool", ("red",), name="look")
    result = ChatMessage("red", role=role, additional_kwargs={"tool_call_id": "c1"})
    assert _message(result) == Message("tool", ("red",), tool_call_id="c1")


def test_images_of_messages_are_stored_under_their_handles(png: bytes) -> None:
    image = _image(ImageBlock(image=png))
    assert shared_store().get(image.handle) == image


def test_a_call_with_incomplete_arguments_raises() -> None:
    call = ToolCallBlock(tool_call_id="c1", tool_name="look", tool_kwargs='{"at": "im')
    with pytest.raises(RequestError, match="no JSON object"):
        _message(ChatMessage(role="assistant", blocks=[call]))


def test_image_documents_may_be_local_files(png: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png)
    documents = [
        ImageDocument(image_path=str(path)),
        ImageDocument(image=base64.b64encode(png).decode()),
        ImageNode(image_path=str(path)),
        ImageBlock(path=path),
    ]
    question = to_question("What?", documents, ImageResolver())
    assert question == Message("user", (*[open_image(png)] * 4, "What?"))
    wrong: Any = path
    with pytest.raises(RequestError, match="holds a PosixPath"):
        to_question("What?", [wrong], ImageResolver())
    one: Any = documents[0]
    with pytest.raises(RequestError, match="Give a list"):
        to_question("What?", one, ImageResolver())
    with pytest.raises(ImageError, match="no file"):
        to_question("What?", [ImageNode(image_path=str(tmp_path / "b.png"))], ImageResolver())


def _nodes_that_name(path: Path) -> dict[str, ImageInput]:
    """Return nodes with a path where a document, or whoever wrote it, may have put it."""
    return {
        "metadata": ImageNode(metadata={"file_path": str(path)}),
        "metadata of a document": ImageDocument(metadata={"file_path": str(path)}),
        "url": ImageNode(image_url=str(path)),
        "file url": ImageNode(image_url=f"file://{path}"),
        "file url of a document": Document(image_resource=MediaResource(url=f"file://{path}")),
        "file url of a block": ImageBlock(url=f"file://{path}"),
        "relative url": ImageNode(image_url=os.path.relpath(path)),
    }


@pytest.mark.parametrize("place", _nodes_that_name(Path("/a")))
def test_metadata_and_urls_open_no_local_file(place: str, png: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png)
    node = _nodes_that_name(path)[place]
    with pytest.raises(ImageError):
        to_question("What?", [node], ImageResolver())
    if place.startswith("metadata"):
        allowed = ImageResolver(allowed_directories=[tmp_path])
        assert to_question("What?", [node], allowed).images == (open_image(png),)


def test_blocks_may_name_files_in_allowed_directories(png: bytes, tmp_path: Path) -> None:
    for name in ("inside", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.png").write_bytes(png)
    llm = Llava(backend=ScriptedBackend(["Red."]), allowed_directories=[tmp_path / "inside"])
    image = ImageBlock(path=tmp_path / "inside" / "a.png")
    assert llm.chat([ChatMessage(blocks=[image])]).message.content == "Red."
    with pytest.raises(ImageError, match="allowed_directories="):
        llm.chat([ChatMessage(blocks=[ImageBlock(path=tmp_path / "outside" / "a.png")])])


@pytest.mark.parametrize("folders", ["images", Path("images"), ["missing"]])
def test_impossible_allowed_directories_raise(folders: object) -> None:
    with pytest.raises(RequestError):
        Llava(allowed_directories=folders)


def test_an_unreachable_image_url_raises() -> None:
    resolver = ImageResolver(allowed_hosts=["127.0.0.1:9"])
    with pytest.raises(ImageError):
        _image(ImageBlock(url="http://127.0.0.1:9/a.png"), resolver)

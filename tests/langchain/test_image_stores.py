"""I6: a user's image store is his own. Nobody else names, probes or evicts what is in it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.load import dumps, loads
from langchain_core.messages import HumanMessage
from langchain_core.tools import ToolException
from PIL import Image

from langchain_llava import ChatLlava, LlavaToolkit, image_block, with_handles, with_inline_images
from langchain_llava import compat as langchain
from langchain_llava.middleware import ImageHandleMiddleware
from llava_tools.images import open_image
from llava_tools.images.store import ImageStore, shared_store
from llava_tools.model import Llava
from llava_tools.testing import ScriptedBackend
from tests.langchain.loading import LOADING
from tests.strategies import encoded, make_image

SECRET = encoded(Image.new("RGB", (6, 6), "purple"), "PNG")
HANDLE = open_image(SECRET).handle
UNKNOWN = "img_" + "0" * 24


def question(handle: str) -> HumanMessage:
    return HumanMessage([{"type": "image", "file_id": handle}, "What is it?"])


def chat(store: ImageStore, handle: str) -> Any:
    return ChatLlava(backend=ScriptedBackend(), image_store=store).invoke([question(handle)])


def stream(store: ImageStore, handle: str) -> Any:
    return list(ChatLlava(backend=ScriptedBackend(), image_store=store).stream([question(handle)]))


def batch(store: ImageStore, handle: str) -> Any:
    return ChatLlava(backend=ScriptedBackend(), image_store=store).batch([[question(handle)]])


def count(store: ImageStore, handle: str) -> Any:
    model = ChatLlava(backend=ScriptedBackend(), image_store=store)
    return model.get_num_tokens_from_messages([question(handle)])


def tool(name: str, **arguments: Any) -> Callable[[ImageStore, str], Any]:
    def call(store: ImageStore, handle: str) -> Any:
        toolkit = LlavaToolkit(
            llm=Llava(backend=ScriptedBackend()), image_store=store, tools=(name,),
            raise_errors=True,
        )  # fmt: skip
        image = {"images": [handle]} if name == "compare" else {"image": handle}
        return toolkit.get_tools()[0].invoke({**image, **arguments})

    return call


def inline(store: ImageStore, handle: str) -> Any:
    return with_inline_images([question(handle)], store)


def agent(store: ImageStore, handle: str) -> Any:
    model = ChatLlava(backend=ScriptedBackend())
    middleware = [ImageHandleMiddleware(store)]
    return create_agent(model, middleware=middleware).invoke({"messages": [question(handle)]})


SURFACES: list[Callable[[ImageStore, str], Any]] = [
    chat,
    stream,
    batch,
    count,
    tool("look", question="What?"),
    tool("describe"),
    tool("read_text"),
    tool("zoom", box=[0, 0, 3, 3]),
    inline,
    agent,
]


@pytest.fixture
def stores(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[ImageStore, ImageStore]:
    """The stores of users A and B; A has the image, and so has the store of the process."""
    if request.param == "memory":
        first, second = ImageStore(), ImageStore(10_000)
    else:
        first = ImageStore(directory=tmp_path / "a")
        second = ImageStore(10_000, tmp_path / "b")
    first.add(open_image(SECRET))
    shared_store().add(open_image(SECRET))
    first.get(HANDLE)
    return first, second


KINDS = pytest.mark.parametrize("stores", ["memory", "directory"], indirect=True)


@KINDS
@pytest.mark.parametrize("surface", SURFACES)
def test_i6_another_user_s_handle_is_as_unknown_as_a_handle_of_nobody(
    surface: Callable[[ImageStore, str], Any], stores: tuple[ImageStore, ImageStore]
) -> None:
    owner, other = stores
    errors = []
    for handle in (HANDLE, UNKNOWN):
        with pytest.raises((langchain.LangChainException, ToolException)) as caught:
            surface(other, handle)
        errors.append(str(caught.value).replace(handle, "img"))
    assert errors[0] == errors[1]
    assert "no picture" in errors[0]
    assert surface(owner, HANDLE)


@KINDS
def test_i6_another_user_evicts_and_removes_nothing(
    stores: tuple[ImageStore, ImageStore],
) -> None:
    owner, other = stores
    block = {"type": "image", "base64": base64.b64encode(SECRET).decode(), "mime_type": "image/png"}
    with_handles([HumanMessage([block])], other)
    for shade in range(255):
        other.add(open_image(make_image(shade).rgb().resize((40, 40))))
    assert HANDLE not in other
    other.remove(HANDLE)
    other.clear()
    assert owner.get(HANDLE).data == SECRET


def test_i6_cached_answers_are_for_the_store_that_they_were_about() -> None:
    owner, other = ImageStore(), ImageStore()
    owner.add(open_image(SECRET))
    cache = InMemoryCache()
    models = [
        ChatLlava(backend=ScriptedBackend(["It is purple."]), image_store=store, cache=cache)
        for store in (owner, other)
    ]
    assert models[0].invoke([question(HANDLE)]).text == "It is purple."
    assert models[0].invoke([question(HANDLE)]).text == "It is purple."
    assert len(models[0].backend.requests) == 1  # type: ignore[union-attr]
    with pytest.raises(langchain.ModelInvalidRequestError, match="no picture"):
        models[1].invoke([question(HANDLE)])


def test_i6_a_handle_is_the_digest_of_its_image_and_of_no_other() -> None:
    with pytest.raises((TypeError, ValueError), match="handle"):
        replace(make_image(1), handle=HANDLE)
    assert replace(open_image(SECRET), source="elsewhere").handle == HANDLE


def test_image_block_of_one_store_is_not_in_the_others(tmp_path: Path) -> None:
    image = Image.new("RGB", (7, 3), "brown")
    block = image_block(image, tmp_path)
    assert block["file_id"] not in shared_store()
    assert block["file_id"] in ImageStore(directory=tmp_path)


def test_written_options_name_the_folder_and_never_another_store(tmp_path: Path) -> None:
    model = ChatLlava(image_store=tmp_path)
    again = loads(dumps(model), **LOADING)
    assert again.image_store == model.image_store == str(tmp_path)
    with pytest.raises(NotImplementedError):
        loads(dumps(ChatLlava(image_store=ImageStore())))

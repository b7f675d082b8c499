"""Code for LlamaIndex's older multi-modal classes: their calls, options, engines and evaluators."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import CompletionResponse
from llama_index.core.chat_engine.types import ChatMode
from llama_index.core.evaluation.multi_modal import (
    MultiModalFaithfulnessEvaluator,
    MultiModalRelevancyEvaluator,
)
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.llms import ImageBlock
from llama_index.core.multi_modal_llms.generic_utils import load_image_urls
from llama_index.core.output_parsers import PydanticOutputParser
from llama_index.core.program import MultiModalLLMCompletionProgram
from llama_index.core.query_engine import RetrieverQueryEngine, SimpleMultiModalQueryEngine
from llama_index.core.schema import ImageDocument, ImageNode
from PIL import Image
from pydantic import BaseModel

from llama_index.embeddings.llava import LlavaEmbedding
from llama_index.llms.llava import Llava
from llama_index.readers.llava import LlavaPageReader
from llava_tools.core.requests import Request
from llava_tools.errors import ImageError, RequestError
from llava_tools.images import open_image
from llava_tools.testing import ScriptedBackend
from tests.llama_index.releases import since
from tests.retrieval.documents import write_pdf


@pytest.fixture
def red(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    Image.new("RGB", (50, 30), "red").save(path)
    return path


def _llm(*answers: str, **options: Any) -> tuple[Llava, ScriptedBackend]:
    backend = ScriptedBackend(answers or ["Yes, it is red."])
    return Llava(backend=backend, **options), backend


def _sizes(requests: Sequence[Request]) -> set[tuple[tuple[int, int], ...]]:
    """Return the sizes of each request's images."""
    return {
        tuple(image.size for message in request.messages for image in message.images)
        for request in requests
    }


async def test_images_as_the_second_argument(red: Path) -> None:
    llm, backend = _llm()
    documents: Any = [ImageDocument(image_path=str(red))]
    stream = [chunk async for chunk in await llm.astream_complete("Red?", documents)]
    answers: list[CompletionResponse] = [
        llm.complete("Red?", documents),
        list(llm.stream_complete("Red?", documents))[-1],
        await llm.acomplete("Red?", documents),
        stream[-1],
    ]
    assert {answer.text for answer in answers} == {"Yes, it is red."}
    assert {tuple(image.handle for image in r.messages[0].images) for r in backend.requests} == {
        (open_image(red).handle,)
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model": "7b", "max_new_tokens": 300}, {"model": "7b", "max_tokens": 300}),
        ({"model_name": "7b", "context_window": 2048}, {"model": "7b", "context_length": 2048}),
        ({"api_base": "http://a/v1", "api_key": "k"}, {"base_url": "http://a/v1"}),
        ({"max_output_tokens": 10, "image_detail": "auto"}, {"max_tokens": 10}),
        ({"temperature": 0.5, "timeout": 60, "max_retries": 3}, {"timeout": 60, "max_retries": 3}),
        ({"additional_kwargs": {"seed": 3}}, {"seed": 3}),
    ],
)
def test_options_of_the_older_constructors(
    options: dict[str, Any], expected: dict[str, Any]
) -> None:
    llm = Llava(**options)
    assert {name: getattr(llm, name) for name in expected} == expected


def test_options_without_a_counterpart_say_so() -> None:
    with pytest.raises(RequestError, match="same number of tokens"):
        Llava(image_detail="low")


def test_calls_take_the_older_names() -> None:
    llm, backend = _llm()
    llm.complete("Red?", image_documents=[], max_new_tokens=7)
    assert backend.requests[0].sampling.max_tokens == 7


def test_image_urls(image_server: str) -> None:
    llm, backend = _llm(allowed_hosts=[image_server.removeprefix("http://")])
    llm.complete("Red?", image_documents=load_image_urls([f"{image_server}/a.png"]))
    assert len(backend.requests[0].messages[0].images) == 1


@pytest.fixture
def index(tmp_path: Path) -> MultiModalVectorStoreIndex:
    folder = tmp_path / "in"
    folder.mkdir()
    write_pdf(folder / "manual.pdf", ["A coffee machine"])
    Image.new("RGB", (50, 30), "red").save(folder / "red.png")
    embedding = LlavaEmbedding()
    return MultiModalVectorStoreIndex.from_documents(
        LlavaPageReader().load_data(folder), embed_model=embedding, image_embed_model=embedding
    )


SIZES = ((1008, 1344), (50, 30))
PAGES = {SIZES, SIZES[::-1]}


@since("0.14.22", "query engines show the model no images")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_query_engines_of_a_multi_modal_index(index: MultiModalVectorStoreIndex) -> None:
    llm, backend = _llm()
    retriever = index.as_retriever(image_similarity_top_k=2)
    engines = [
        index.as_query_engine(llm=llm, image_similarity_top_k=2),
        SimpleMultiModalQueryEngine(retriever, multi_modal_llm=llm),
        RetrieverQueryEngine.from_args(retriever, llm=llm, multimodal=True),
    ]
    for engine in engines:
        for answer in (engine.query("Is it red?"), await engine.aquery("Is it red?")):
            assert str(answer) == "Yes, it is red."
            assert sum(isinstance(s.node, ImageNode) for s in answer.source_nodes) == 2
    assert _sizes(backend.requests[:4]) <= PAGES
    assert {size for sizes in _sizes(backend.requests[4:]) for size in sizes} == {*SIZES}
    assert all("A coffee machine" in request.messages[-1].text for request in backend.requests[:4])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@since("0.14.16", "condensing chat engines show the model no images")
@pytest.mark.parametrize("mode", [ChatMode.CONTEXT, ChatMode.CONDENSE_PLUS_CONTEXT])
async def test_chat_engines_of_a_multi_modal_index(
    index: MultiModalVectorStoreIndex, mode: ChatMode
) -> None:
    llm, backend = _llm()
    engine = index.as_chat_engine(chat_mode=mode, llm=llm, image_similarity_top_k=2)
    assert str(engine.chat("Is it red?")) == "Yes, it is red."
    assert str(await engine.achat("Is it?")) == "Yes, it is red."
    assert _sizes(backend.requests[:1]) <= PAGES


@pytest.mark.parametrize(
    "evaluator", [MultiModalFaithfulnessEvaluator, MultiModalRelevancyEvaluator]
)
async def test_evaluators_look_at_files_in_allowed_directories(evaluator: Any, red: Path) -> None:
    llm, backend = _llm("YES", allowed_directories=[red.parent])
    judge = evaluator(multi_modal_llm=llm)
    case: dict[str, Any] = {
        "query": "What colour?",
        "response": "Red.",
        "contexts": ["A square."],
        "image_paths": [str(red)],
    }
    for result in (judge.evaluate(**case), await judge.aevaluate(**case)):
        assert (result.passing, result.score) == (True, 1.0)
    assert _sizes(backend.requests) == {((50, 30),)}
    with pytest.raises(ImageError, match="allowed_directories"):
        evaluator(multi_modal_llm=_llm("YES")[0]).evaluate(**case)


class Colour(BaseModel):
    name: str


@pytest.mark.parametrize("kind", ["path", "bytes"])
def test_completion_programs(red: Path, kind: str) -> None:
    llm, backend = _llm('{"name": "red"}', allowed_directories=[red.parent])
    image: Any = (
        ImageNode(image_path=str(red)) if kind == "path" else ImageBlock(image=red.read_bytes())
    )
    program = MultiModalLLMCompletionProgram.from_defaults(
        output_parser=PydanticOutputParser(Colour),
        prompt_template_str="Which colour?",
        image_documents=[image],
        multi_modal_llm=llm,
    )
    assert program() == Colour(name="red")
    assert _sizes(backend.requests) == {((50, 30),)}

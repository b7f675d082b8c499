"""The context length: what is chosen by default, and an error with a figure that fits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psutil
import pytest
from transformers import LlavaConfig

from llava_tools import Llava
from llava_tools.engine import load_engine
from llava_tools.engine.context_length import longest_context
from llava_tools.engine.loading import dimensions
from llava_tools.engine.tokenizer import Tokenizer
from llava_tools.errors import ContextOverflowError, ModelError, RequestError
from llava_tools.options import EngineOptions
from tests.checkpoints import Geometry, write_checkpoint

ORIGINAL: dict[str, Any] = {"original_max_position_embeddings": 64}
FACTORS: dict[str, Any] = {"short_factor": [1.0] * 8, "long_factor": [2.0] * 8}
SIZES: dict[str, Any] = {"hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}


@pytest.fixture(scope="module")
def long_context(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that was built for 131,072 tokens, whose KV takes 1,024 bytes each in float32."""
    folder = tmp_path_factory.mktemp("long")
    return str(write_checkpoint(folder, shape=Geometry(context_length=131_072)))


def test_a_model_that_was_built_for_less_gets_that(checkpoint: Path) -> None:
    engine = load_engine(EngineOptions(str(checkpoint)))
    assert engine.context_length == 512
    engine.close()


def test_a_model_that_was_built_for_more_gets_8192_tokens(long_context: str) -> None:
    engine = load_engine(EngineOptions(long_context))
    assert engine.context_length == 8192
    engine.close()


def test_the_option_sets_more(long_context: str) -> None:
    engine = load_engine(EngineOptions(long_context, context_length=20_000))
    assert engine.context_length == 20_000
    engine.close()


def test_more_than_the_model_was_built_for_is_an_error(checkpoint: Path) -> None:
    with pytest.raises(RequestError, match="built for"):
        load_engine(EngineOptions(str(checkpoint), context_length=4096))


@pytest.mark.parametrize(
    ("kind", "options", "length"),
    [
        ("llama", {}, 512),
        ("llama", {"rope_scaling": {"rope_type": "longrope", **ORIGINAL, **FACTORS}}, 64),
        ("phi3", {"rope_scaling": {"type": "longrope", **FACTORS}, **ORIGINAL}, 64),
        ("llama", {"rope_scaling": {"rope_type": "yarn", "factor": 8.0, **ORIGINAL}}, 512),
        ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 8.0}}, 512),
    ],
)
def test_longrope_ends_where_all_of_its_angles_change(kind: str, options: Any, length: int) -> None:
    text = {"model_type": kind, "max_position_embeddings": 512, **SIZES, **options}
    assert longest_context(LlavaConfig(text_config=text).text_config) == length
    model = dimensions.text_model({"model_type": "llava", "text_config": text})
    assert model is not None
    assert model.context_length == length


@pytest.mark.parametrize("free", [40_000_000, 130_000_000])
def test_a_context_that_does_not_fit_is_an_error_with_one_that_does(
    long_context: str, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    memory = psutil.virtual_memory()._replace(available=free)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(ModelError, match=r"131,072 tokens takes 0\.1 GB, and it can ") as caught:
        load_engine(EngineOptions(long_context, dtype="float32", context_length=131_072))
    fitting = re.search(r"--context-length (\d+)", str(caught.value))
    assert fitting is not None
    options = {"dtype": "float32", "context_length": int(fitting[1])}
    with Llava(long_context, **options) as model:
        assert model.ask("Which color?", max_tokens=2).text


def test_a_text_that_cannot_fit_is_refused_before_it_is_encoded(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(self: Tokenizer, text: str, *, start: bool = True) -> list[int]:
        pytest.fail(f"{len(text)} characters were encoded")

    model = Llava(str(checkpoint))
    assert model.backend.context_length == 512
    monkeypatch.setattr(Tokenizer, "encode", encode)
    with pytest.raises(ContextOverflowError, match=r"The text has 3,0\d\d,\d{3} characters"):
        model.ask("a " * 1_500_000 + "b" * 20_000)
    model.close()


def test_a_text_of_the_longest_tokens_is_encoded(checkpoint: Path) -> None:
    model = Llava(str(checkpoint))
    with pytest.raises(ContextOverflowError, match="of text"):  # all of its tokens were counted
        model.ask("a " * 1_000)
    model.close()

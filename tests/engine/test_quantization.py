"""8 and 4 bit on a CPU, from the option to the answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from llava_tools import Llava, Message, Request, open_image
from llava_tools.engine import load_engine
from llava_tools.engine.engine import LlavaEngine
from llava_tools.engine.quantized_linear import GROUP, Int4Linear, Int8Linear, missing
from llava_tools.errors import ModelError
from llava_tools.options import EngineOptions, Quantization
from tests.checkpoints import config, write_checkpoint

KINDS = [
    pytest.param(kind, marks=pytest.mark.skipif(bool(missing(kind)), reason="not on this CPU"))
    for kind in ("8bit", "4bit")
]
NIGHT = Path(__file__).parents[2] / "examples" / "images" / "night.png"
LONG = "Two dogs sit left of a red circle; right above them are a blue square and the picture. " * 2
LABELS = [LONG.strip(), LONG.upper().strip(), "no", "A red circle."]


def represented(weight: Tensor, kind: Quantization) -> Tensor:
    """Return weights [out, in] near the given ones that a quantization represents."""
    group = GROUP if kind == "4bit" else weight.shape[1]
    low, high = (-8, 7) if kind == "4bit" else (-127, 127)
    groups = weight.float().unflatten(1, (-1, group))
    scales = (groups.abs().amax(2, keepdim=True) / high).log2().ceil().exp2()
    levels = (groups / scales).round().clamp(low, high)
    levels[..., 0], levels[..., 1] = low, high  # so that the range gives the scale
    rounded: Tensor = (levels * scales).flatten(1)
    return rounded


@pytest.fixture(scope="module", params=KINDS)
def exact(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Quantization]:
    """A checkpoint in 16 bit whose language model loses nothing when it is quantized."""
    folder = write_checkpoint(tmp_path_factory.mktemp("exact"), seed=3)
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if "language_model.layers" in name and weight.dim() == 2:
            weights[name] = represented(weight, request.param)
        elif "lm_head" in name:
            weights[name] = represented(weight, "8bit")
    stored = {name: weight.bfloat16() for name, weight in weights.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    return folder, request.param


def scores(model: Llava, images: list[Image.Image]) -> Tensor:
    """Log-probabilities of labels [image, label]."""
    rows = []
    for image in images:
        request = Request((Message("user", (open_image(image), "What is it?")),))
        rows.append(model.backend.score(request, LABELS))
    return torch.tensor(rows)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_that_are_represented_lose_nothing(
    exact: tuple[Path, Quantization], dtype: Any, images: list[Image.Image]
) -> None:
    folder, kind = exact
    with Llava(str(folder), dtype="float32") as plain:
        expected = scores(plain, images)
    with Llava(str(folder), dtype=dtype, quantization=kind, device="cpu") as model:
        result = scores(model, images)
        engine = model.backend
        assert isinstance(engine, LlavaEngine)
        assert engine.device == f"cpu {dtype}"
        assert str(engine.cache.shape.dtype) == f"torch.{dtype}"
    # Few rows are computed in bfloat16, many in the model's own type.
    error = (result - expected).abs() / expected.abs()
    assert error[:, :2].max() < (0.03 if dtype == "float32" else 0.1)
    assert error.mean() < 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_any_stored_type_is_quantized(
    tmp_path: Path, kind: Quantization, stored: torch.dtype, dtype: Any, images: list[Image.Image]
) -> None:
    folder = write_checkpoint(tmp_path, dtype=stored)
    options = EngineOptions(str(folder), dtype=dtype, quantization=kind, prefix_caching=False)
    engine = load_engine(options)
    try:
        kinds = {type(module) for module in engine.loop.runner._decoder.modules()}
        assert Int8Linear in kinds  # the head, at least
        assert (Int4Linear in kinds) is (kind == "4bit")
        model = Llava(backend=engine)
        alone = [model.ask("What is it?", image, max_tokens=8) for image in images[:3]]
        assert all(len(answer.token_ids) > 0 for answer in alone)
        again = [model.ask("What is it?", image, max_tokens=8) for image in images[:3]]
        assert [item.token_ids for item in again] == [item.token_ids for item in alone]
    finally:
        engine.close()


@pytest.mark.parametrize("kind", KINDS)
def test_the_embedded_model_answers_in_every_precision(kind: Quantization) -> None:
    with Llava(quantization=kind, device="cpu") as model:
        assert "yellow" in model.ask("What colour is the star?", NIGHT).text
        assert model.choose("Is there a star?", NIGHT, ["yes", "no"]).label == "yes"


@pytest.mark.parametrize("kind", KINDS)
def test_a_language_model_that_is_not_quantized_is_refused_before_its_weights_are_read(
    tmp_path: Path, kind: Quantization, checkpoint: Path
) -> None:
    for path in checkpoint.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    settings = config(320, 303)
    text = cast(Any, settings.text_config).to_dict() | {"model_type": "qwen3", "head_dim": 32}
    (tmp_path / "config.json").write_text(_with_text(settings, text))
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match=f"quantization='{kind}' on a CPU.*'qwen3'") as caught:
        load_engine(EngineOptions(str(tmp_path), quantization=kind, device="cpu"))
    assert "Leave quantization out" in caught.value.hint


def _with_text(settings: Any, text: dict[str, Any]) -> str:
    return json.dumps(settings.to_dict() | {"text_config": text}, default=str)


_PROGRAM = """
import sys
from llava_tools import Llava
from llava_tools.errors import ModelError
for kind in ("8bit", "4bit"):
    try:
        with Llava(quantization=kind, device="cpu") as model:
            print(kind, model.ask("What colour is the star?", sys.argv[1]).text)
    except ModelError as error:
        print(kind, error.message, error.hint)
"""


@pytest.mark.slow
@pytest.mark.skipif(bool(missing("8bit")), reason="not on this CPU")
@pytest.mark.parametrize(
    ("capability", "eight", "four"),
    [
        ("avx2", "yellow", "needs AVX512, which this one does not have. Use quantization='8bit'."),
        ("default", "needs AVX512 or AVX2", "needs AVX512, which this one does not have."),
    ],
)
def test_processors_without_avx512(capability: str, eight: str, four: str) -> None:
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability}
    output = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(NIGHT)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ).stdout.splitlines()
    assert eight in output[0]
    assert four in output[1]

"""`GenerateContender` returns the same answers as the engine."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from llava_tools import Llava, Message, open_image
from llava_tools.bench.generate import GenerateContender
from llava_tools.core.outputs import collect
from llava_tools.core.requests import Request, SamplingParams
from tests.checkpoints import write_checkpoint


def test_generate_returns_the_tokens_of_the_engine(tmp_path: Path) -> None:
    image = open_image(Image.effect_noise((60, 40), 50).convert("RGB"))
    messages = (Message("user", (image, "What is in the picture?")),)
    with Llava(str(write_checkpoint(tmp_path)), dtype="float32") as model:
        request = Request(messages, SamplingParams(max_tokens=7))
        answer = collect(model.backend.stream(request), "")
        contender = GenerateContender(model.options)
        assert contender.tokens(messages, 7) == list(answer.token_ids)
        timing = contender.run(request)
        assert timing.tokens == len(answer.token_ids)
        assert 0 < timing.first < timing.total
        assert len(contender.tokens((Message("user", ("Hello?",)),), 40, exact=True)) == 40

"""The peer in this process answers what the engine answers."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from llava_tools import Llava, Message, open_image
from llava_tools.bench.generate import Generate
from llava_tools.core.outputs import collect
from llava_tools.core.requests import Request, SamplingParams
from tests.checkpoints import write_checkpoint


def test_generate_is_asked_what_the_engine_is_asked(tmp_path: Path) -> None:
    image = open_image(Image.effect_noise((60, 40), 50).convert("RGB"))
    asked = (Message("user", (image, "What is in the picture?")),)
    with Llava(str(write_checkpoint(tmp_path)), dtype="float32") as model:
        request = Request(asked, SamplingParams(max_tokens=7))
        answer = collect(model.backend.stream(request), "")
        peer = Generate(model.options)
        assert peer.tokens(asked, 7) == list(answer.token_ids)
        run = peer.run(request)
        assert run.tokens == len(answer.token_ids)
        assert 0 < run.first < run.total
        assert len(peer.tokens((Message("user", ("Hello?",)),), 40, exact=True)) == 40

"""Loads weights and warms up kernels and buffers before the first request.

A server warms up before it reports that it is ready:

    model = Llava("7b")
    model.warm_up(lambda step, fraction: print(f"{fraction:4.0%} {step}"))
"""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from llava_tools.core.backend import Backend
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.core.streaming import answer_all
from llava_tools.images import open_image

#: Called before each step with its name and the finished fraction, 0 to 1; finally "ready" and 1.
Progress = Callable[[str, float], None]

#: Requests of the last step, since some kernels depend on the batch size.
BATCH_SIZE = 8
#: Tokens of each answer: the first comes from prefill, the others from decoding.
MAX_TOKENS = 4


def warm_up(load: Callable[[], Backend], progress: Progress | None = None) -> None:
    """Load a model and answer questions about an image: a new one, a cached one, and in a batch.

    Args:
        load: Returns the backend; may load the model.
        progress: See `Progress`.
    """
    report = progress or (lambda step, fraction: None)
    batch = [f"Is it number {number}?" for number in range(BATCH_SIZE)]
    steps = [
        ("a new image", ["What is it?"]),
        ("a cached image", ["Which colour is it?"]),
        (f"a batch of {BATCH_SIZE} questions", batch),
    ]
    report("loading the model", 0.0)
    backend = load()
    image = open_image(Image.new("RGB", (64, 48), (110, 120, 130)))
    sampling = SamplingParams(max_tokens=MAX_TOKENS)
    for number, (step, questions) in enumerate(steps, start=1):
        report(step, number / (len(steps) + 1))
        messages = [Message("user", (image, question)) for question in questions]
        answer_all(backend, [Request((message,), sampling) for message in messages])
    report("ready", 1.0)

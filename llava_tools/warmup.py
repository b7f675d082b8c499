"""What the first question would pay for, paid before it comes: weights, kernels, and buffers.

A server warms up before it says that it is ready:

    model = Llava("7b")
    model.warm_up(lambda doing, share: print(f"{share:4.0%} {doing}"))
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from PIL import Image

from llava_tools.core.backend import Backend
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.core.streaming import answer_all
from llava_tools.images import ImageRef, open_image

#: Told what is done next, and how much of all is done by then, 0 to 1; at last "ready" and 1.
Progress = Callable[[str, float], None]

#: Requests of the step of many; some kernels are others for many rows than for one.
MANY = 8
#: Tokens of each answer: the first comes from a prompt, the others from steps of their own.
TOKENS = 4


def warm_up(backend: Callable[[], Backend], progress: Progress | None = None) -> None:
    """Load a model and have it answer questions of each kind: see `Llava.warm_up`.

    Args:
        backend: Called for the engine, which may mean loading the model.
        progress: See `Progress`.
    """
    tell = progress or _silently
    stages = [("a new picture", ["What is it?"]), ("a known picture", ["Which colour is it?"])]
    stages.append((f"{MANY} questions at once", [f"Is it number {n}?" for n in range(MANY)]))
    tell("loading the model", 0.0)
    engine = backend()
    image = open_image(Image.new("RGB", (64, 48), (110, 120, 130)))
    for done, (doing, questions) in enumerate(stages, start=1):
        tell(doing, done / (len(stages) + 1))
        answer_all(engine, _requests(image, questions))
    tell("ready", 1.0)


def _requests(image: ImageRef, questions: Sequence[str]) -> Iterator[Request]:
    for question in questions:
        yield Request((Message("user", (image, question)),), SamplingParams(max_tokens=TOKENS))


def _silently(_doing: str, _share: float) -> None:
    pass

"""Work with the model itself: labels, evidence, tools, embeddings, streams that are left."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from benchmarks.server_load import IMAGES, QUESTIONS
from benchmarks.soak.scene import BAD_SCHEMA, DAMAGED, MAX_TOKENS, Scene, new_image
from llava_tools import Constraint, Message, Request, open_image, tools
from llava_tools.core.streaming import answer
from llava_tools.errors import ImageError, RequestError, SchemaError
from llava_tools.images.access import ImageResolver

_LABELS = ("red", "yellow", "blue")


def labels(scene: Scene, rng: random.Random) -> None:
    """Choose a label, and say yes or no."""
    image = rng.choice(IMAGES)
    choice = scene.model.choose(QUESTIONS[0], image, _LABELS)
    scene.outcomes.same(f"choose {image.name}", choice.label)
    shows = scene.model.score("a yellow star", image)
    scene.outcomes.same(f"score {image.name}", round(shows, 3))
    with scene.outcomes.error(RequestError, "bad labels"):
        scene.model.choose(QUESTIONS[0], image, ["red", "red"])


def evidence(scene: Scene, rng: random.Random) -> None:
    """Measure what an answer depends on."""
    image = rng.choice(IMAGES)
    found = scene.model.evidence(QUESTIONS[0], image)
    scene.outcomes.same(f"evidence {image.name}", repr((found.answer, found.region)))


def visual_tools(scene: Scene, rng: random.Random) -> None:
    """Call tools with a resolver of their own."""
    image, other = rng.sample(IMAGES, 2)
    resolver = ImageResolver(scene.store)
    handle, second = resolver.add(image), resolver.add(other)
    calls: list[tuple[str, dict[str, Any]]] = [
        ("look", {"image": handle, "question": QUESTIONS[1]}),
        ("locate", {"image": handle, "thing": "the star"}),
        ("compare", {"images": [handle, second], "question": QUESTIONS[0]}),
        ("show_evidence", {"image": handle, "question": QUESTIONS[0]}),
    ]
    for name, arguments in calls:
        result = str(tools.call(scene.model, name, arguments, resolver))
        scene.outcomes.same(f"{name} {image.name} {other.name}", result)


def embeddings(scene: Scene, rng: random.Random) -> None:
    """Embed a text and images, known and new ones."""
    for text, vector in scene.expected.vectors.items():
        (found,) = scene.embedder.embed_texts([text])
        nearness = sum(a * b for a, b in zip(found, vector, strict=True))
        scene.outcomes.equal(f"embedding {text}", nearness > 0.9999, True)
    image = rng.choice(IMAGES)
    first, _ = scene.embedder.embed_images([open_image(image), open_image(new_image(rng))])
    scene.outcomes.same(f"embedding {image.name}", [round(value, 3) for value in first[:8]])


def left_streams(scene: Scene, rng: random.Random) -> None:
    """Close a stream, drop one, and cancel a task."""
    image = new_image(rng)
    stream = scene.model.stream(QUESTIONS[1], image, max_tokens=200)
    next(stream)
    stream.close()
    next(scene.model.stream(QUESTIONS[2], image, max_tokens=200))

    async def cancel() -> None:
        task = asyncio.create_task(scene.model.aask(QUESTIONS[1], image, max_tokens=200))
        await asyncio.sleep(rng.random() * 0.03)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(result, Exception):
            raise result

    asyncio.run(cancel())


def errors(scene: Scene, rng: random.Random) -> None:
    """Send a damaged image, a missing one, and a schema that cannot be enforced."""
    with scene.outcomes.error(ImageError, "damaged image"):
        scene.model.ask(QUESTIONS[0], DAMAGED)
    with scene.outcomes.error(ImageError, "damaged image"):
        data = new_image(rng)
        scene.model.ask(QUESTIONS[0], data[: rng.randrange(40, len(data) // 2)])
    with scene.outcomes.error(ImageError, "missing image"):
        scene.model.ask(QUESTIONS[0], scene.folder / "missing.png")
    with scene.outcomes.error(SchemaError, "bad schema"):
        constraint = Constraint(schema=BAD_SCHEMA)
        request = Request((Message("user", ("Hello!",)),), constraint=constraint)
        answer(scene.model.backend, request)


def sampled(scene: Scene, rng: random.Random) -> None:
    """Sample with a seed; the same seed has the same answer."""
    image, seed = rng.choice(IMAGES), rng.randrange(3)
    found = scene.model.ask(
        QUESTIONS[1], image, temperature=1.0, seed=seed, max_tokens=MAX_TOKENS
    ).text
    scene.outcomes.same(f"sampled {image.name} {seed}", found)


WORK = (labels, evidence, visual_tools, embeddings, left_streams, errors, sampled)

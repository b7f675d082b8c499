"""Multi-modal evaluators, with the embedded model as the judge and with a scripted one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from llama_index.core import PromptTemplate
from llama_index.core.evaluation import BatchEvalRunner
from llama_index.core.evaluation.multi_modal import (
    MultiModalFaithfulnessEvaluator,
    MultiModalRelevancyEvaluator,
)

from llama_index.llms.llava import Llava
from llava_tools.testing import ScriptedBackend

#: The evaluators' own templates are longer than the embedded model's context.
TEMPLATE = PromptTemplate("Is there a star in the picture?")


@pytest.fixture(params=[MultiModalFaithfulnessEvaluator, MultiModalRelevancyEvaluator])
def evaluator_type(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize(("image", "score"), [("night", 1.0), ("paper", 0.0)])
async def test_the_embedded_model_judges_by_the_image(
    image: str, score: float, evaluator_type: Any, llm: Llava, night: Path
) -> None:
    evaluator = evaluator_type(multi_modal_llm=llm, eval_template=TEMPLATE)
    paths = [str(night.with_name(f"{image}.png"))]
    question, answer = "What is there?", "A star."
    result = evaluator.evaluate(question, answer, ["drawings"], image_paths=paths)
    assert result.score == score
    result = await evaluator.aevaluate(question, answer, ["drawings"], image_paths=paths)
    assert (result.passing, result.response) == (score == 1, answer)


def test_the_default_templates_reach_the_judge_with_the_image(
    evaluator_type: Any, night: Path
) -> None:
    backend = ScriptedBackend(["YES"])
    judge = Llava(backend=backend, allowed_directories=[night.parent])
    evaluator = evaluator_type(multi_modal_llm=judge)
    assert evaluator.evaluate("Q?", "A.", ["a context"], image_paths=[str(night)]).passing
    (message,) = backend.requests[-1].messages
    assert [image.data for image in message.images] == [night.read_bytes()]
    assert "a context" in message.text


async def test_evaluators_run_in_batches(llm: Llava) -> None:
    backend = ScriptedBackend(["YES"])
    evaluator = MultiModalFaithfulnessEvaluator(multi_modal_llm=Llava(backend=backend))
    runner = BatchEvalRunner({"faithful": evaluator}, workers=2)
    results = await runner.aevaluate_response_strs(
        queries=["Q1?", "Q2?"], response_strs=["A1", "A2"], contexts_list=[["c1"], ["c2"]]
    )
    assert [result.passing for result in results["faithful"]] == [True, True]

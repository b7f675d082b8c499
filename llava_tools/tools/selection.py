"""Selection among described options, for routers and selectors: always one of the options.

Each option is described as a tool without arguments, in the text that every planner reads, and the
calls of the tools are scored as answers. Nothing is generated or parsed, and descriptions may be
long: only names are scored. Names that are likely whatever the question is are corrected for: the
scores after a question without content are subtracted (contextual calibration; Zhao et al.,
"Calibrate Before Use", ICML 2021).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from llava_tools import label_scoring
from llava_tools.chat.tool_calls import write_call
from llava_tools.core.constraints import TOOL_CHOICE_MODES, Constraint, ToolCall, ToolSpec
from llava_tools.core.requests import Message, Request
from llava_tools.errors import RequestError
from llava_tools.images import ImageRef
from llava_tools.label_scoring import Classification
from llava_tools.model import Llava
from llava_tools.tools.requests import (
    RequestGenerator,
    RequestSender,
    arun_requests,
    get_scores,
    run_requests,
)

#: A question without content.
NEUTRAL_QUESTION = "N/A"


def select_option(
    model: Llava | RequestSender,
    question: str,
    images: Sequence[ImageRef],
    options: Mapping[str, str],
    *,
    abstain: float | None = None,
) -> Classification:
    """Select the option that fits a question best.

    Args:
        model: The model that selects; or what sends the requests to a model.
        question: What an option is needed for, such as a user's request.
        images: Images that belong to the question.
        options: At least one: names, and descriptions of what each is for. The names are what is
            scored, so speaking ones help.
        abstain: The minimum probability, 0 to 1, of the selected option; None for no minimum.

    Returns:
        The name of the option, and the probabilities of all by name.

    Raises:
        RequestError: No option, a bad threshold, or more than the context holds.
        ModelError: The model cannot be loaded.
        EngineError: The engine could not finish.
    """
    return run_requests(model, _selection(question, images, options, abstain))


async def aselect_option(
    model: Llava | RequestSender,
    question: str,
    images: Sequence[ImageRef],
    options: Mapping[str, str],
    *,
    abstain: float | None = None,
) -> Classification:
    """`select_option` in threads, without blocking the event loop."""
    return await arun_requests(model, _selection(question, images, options, abstain))


def _selection(
    question: str, images: Sequence[ImageRef], options: Mapping[str, str], abstain: float | None
) -> RequestGenerator[Classification]:
    label_scoring.check_abstain(abstain)
    if not options:
        raise RequestError("There is no option to select.", "Pass at least one.")
    tools = _tools(options)
    constraint = Constraint(tools=tools, tool_choice="any")
    labels = [write_call(ToolCall("", tool.name, {})) for tool in tools]

    def request(*content: str | ImageRef) -> Request:
        return Request((Message("user", content),), constraint=constraint)

    scores = yield from get_scores(request(*images, question), labels)
    biases = yield from get_scores(request(NEUTRAL_QUESTION), labels)
    corrected = [score - bias for score, bias in zip(scores, biases, strict=True)]
    # Corrected scores are no log-probabilities, which a calibration is fitted for.
    return label_scoring.classify(list(options), corrected, abstain)


def _tools(options: Mapping[str, str]) -> tuple[ToolSpec, ...]:
    """Describe options as tools; an option whose name makes no tool name gets a number."""
    tools: dict[str, ToolSpec] = {}
    for number, (name, text) in enumerate(options.items(), start=1):
        tool_name = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("_")[:128]
        if not tool_name or tool_name in TOOL_CHOICE_MODES or tool_name in tools:
            tool_name, text = f"option_{number}", f"{name}: {text}"
            while tool_name in tools:
                tool_name += "_"
        tools[tool_name] = ToolSpec(tool_name, text)
    return tuple(tools.values())

"""What judges are to do: read from the benchmark authors' own files, otherwise in our words.

Published figures were reached with the authors' prompts, whose text is not a part of this project.
Their files are read from the data set's folder as they are; nothing in them is run. Without them
a prompt of the same structure is used, and the figure's notes say so.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_tools.evaluation.data_files.entries import Entry
from llava_tools.evaluation.data_files.files import read_json, read_text
from llava_tools.evaluation.task import read_error

#: LLaVA-Bench's rules and system message: files of https://github.com/haotian-liu/LLaVA.
RULE_FILE = "rule.json"
REVIEW_PROGRAM = "eval_gpt_review_bench.py"
#: MM-Vet's examples: a file of https://github.com/yuweihao/MM-Vet.
GRADING_PROGRAM = "mm-vet_evaluator.py"

_SYSTEM = "You compare the quality of answers with care and without favour."
_COMPARISON = """\
Two AI assistants were shown the image that the context above describes in sentences, and the \
question above. Judge both answers: how helpful, relevant and accurate each one is, and whether it \
goes into enough detail. Give each assistant one score for the whole answer, from 1 to 10; better \
answers get higher scores.
On the first line, write the score of Assistant 1, one space, and the score of Assistant 2: two \
numbers and nothing else.
From the second line on, explain your scores. Be impartial: which answer comes first must not \
matter."""
_CORRECTNESS = """\
Each row of the table below has a question about an image, the true answer, and an AI model's \
answer. Its last column says how correct the model's answer is: 0.0 for wrong, 1.0 for right, and \
0.1 to 0.9 in steps of 0.1 for partly right. Where the true answer has <AND>, only an answer with \
all of its elements is right; where it has <OR>, an answer with any of them is. Complete the last \
row with its correctness, a number and nothing else.

Question | Ground truth | Prediction | Correctness
--- | --- | --- | ---
Which numbers solve the equation? | 2 <AND> -7 | x = 4 | 0.0
Which numbers solve the equation? | 2 <AND> -7 | x = 2 | 0.5
Which numbers solve the equation? | 2 <AND> -7 | x = -7 or x = 7 | 0.5
Which numbers solve the equation? | 2 <AND> -7 | It is 2 or -7. | 1.0
What is on the plate? | noodles <OR> spaghetti | A plate of spaghetti | 1.0
Why is the sign funny? | The sign says that the sign makers are on strike, yet somebody must have \
made it. So it contradicts itself. | It is a joke about a strike. | 0.3
Why is the sign funny? | The sign says that the sign makers are on strike, yet somebody must have \
made it. So it contradicts itself. | The joke is a contradiction: the sign reports a strike of the \
very people who have to make signs, so it should not exist. | 1.0
"""


@dataclass(frozen=True)
class ComparisonRule:
    """How a judge compares two answers.

    Attributes:
        role: What the authors of the answers are called.
        prompt: The judge's task, after the answers.
        system: The system message.
        official: Whether all of it is the benchmark authors'.
    """

    role: str
    prompt: str
    system: str
    official: bool


def comparison_rules(folder: Path, categories: set[str]) -> dict[str, ComparisonRule]:
    """Return LLaVA-Bench's rule for each category, such as `llava_bench_conv`.

    Raises:
        RequestError: A file of the authors' is not as they publish it.
    """
    rule_path, program_path = folder / RULE_FILE, folder / REVIEW_PROGRAM
    system = _system_message(program_path) if program_path.exists() else None
    if not rule_path.exists():
        own = ComparisonRule("Assistant", _COMPARISON, system or _SYSTEM, False)
        return dict.fromkeys(categories, own)
    rules: dict[str, ComparisonRule] = {}
    entries = read_json(rule_path)
    if not isinstance(entries, dict):
        raise read_error(rule_path, "it is no JSON object")
    for category in categories:
        if not isinstance(entries.get(category), dict):
            raise read_error(rule_path, f"it has no rule for {category!r}")
        entry = Entry(entries[category], rule_path, category)
        rules[category] = ComparisonRule(
            entry.text("role"), entry.text("prompt"), system or _SYSTEM, system is not None
        )
    return rules


def correctness_prompt(folder: Path) -> tuple[str, bool]:
    """Return MM-Vet's text before the row that is judged, and whether it is the authors'.

    Raises:
        RequestError: The authors' program is not as they publish it.
    """
    path = folder / GRADING_PROGRAM
    if not path.exists():
        return _CORRECTNESS, False
    for node in _parsed(path).body:
        if isinstance(node, ast.Assign) and _constant(node.value) is not None:
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if "prompt" in names:
                return str(_constant(node.value)), True
    raise read_error(path, "it has no text named prompt")


def _system_message(path: Path) -> str:
    """Return the system message in the source of LLaVA's program."""
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.Dict):
            message: Mapping[Any, Any] = {
                _constant(key): _constant(value)
                for key, value in zip(node.keys, node.values, strict=True)
            }
            if message.get("role") == "system" and message.get("content"):
                return str(message["content"])
    raise read_error(path, "it has no system message")


def _parsed(path: Path) -> ast.Module:
    try:
        return ast.parse(read_text(path))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise read_error(path, f"it is no Python program ({error})") from error


def _constant(node: ast.expr | None) -> str | None:
    """Return the text of a literal, None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None

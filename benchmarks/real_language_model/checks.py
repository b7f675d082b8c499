"""What a small language model answers rightly through the interfaces that users have.

Questions, forms and tool calls go through `Llava.ask` and `ChatLlava`, and are counted; greedy
answers are compared with transformers' `generate` on the prompt of the checkpoint's chat template.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import BaseModel

from langchain_llava import ChatLlava
from llava_tools import Llava

#: Questions and a word of the right answer. The first of each kind has to be right.
QUESTIONS = {
    "What is the capital of France?": "Paris",
    "What is the capital of Japan? Answer with one word.": "Tokyo",
    "Which planet is known as the Red Planet?": "Mars",
    "Who wrote the play Romeo and Juliet?": "Shakespeare",
    "What gas do plants take in from the air?": "carbon dioxide",
    "What is the opposite of hot?": "cold",
}
#: Further prompts of the comparison with `generate`, for longer answers.
REQUESTS = (
    "Write three sentences about the sea.",
    "List five animals that live in a forest.",
    "Explain in two sentences why the sky is blue.",
    "Translate 'good morning' into French, and say how it is pronounced.",
)
#: Tokens of answers that are compared, and the most of an answer to a question.
COMPARED, LONGEST = 64, 200


class Person(BaseModel):
    """A person and the country where the person was born."""

    name: str
    country: str


#: Sentences, and what the form has to say.
PEOPLE = {
    "Marie Curie was born in Poland.": ("Marie Curie", "Poland"),
    "Albert Einstein was born in Germany in 1879.": ("Albert Einstein", "Germany"),
    "The painter Frida Kahlo was born in Mexico.": ("Frida Kahlo", "Mexico"),
    "Nelson Mandela was born in South Africa.": ("Nelson Mandela", "South Africa"),
}
#: Tasks, and the right arguments.
SUMS = {
    "Add 17 and 25.": {"a": 17, "b": 25},
    "What is 17 + 25?": {"a": 17, "b": 25},
    "Add 3 and 4.": {"a": 3, "b": 4},
    "What is 120 plus 36?": {"a": 120, "b": 36},
}


def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: The first number.
        b: The second number.
    """
    return a + b


@dataclass(frozen=True)
class Check:
    """One prompt with its answer.

    Attributes:
        kind: `question`, `form`, `call` or `generate`.
        prompt: What the model was asked.
        answer: What it answered.
        right: Whether that is right and ended by itself.
    """

    kind: str
    prompt: str
    answer: str
    right: bool


def ask_questions(llava: Llava) -> Iterator[Check]:
    """Ask for facts; the answer must name them and end by itself."""
    for question, word in QUESTIONS.items():
        answer = llava.ask(question, max_tokens=LONGEST)
        right = word in answer.text and answer.finish_reason == "stop"
        yield Check("question", question, answer.text, right)


def fill_forms(chat: ChatLlava) -> Iterator[Check]:
    """Read name and country out of a sentence into a form."""
    forms = chat.with_structured_output(Person)
    for sentence, expected in PEOPLE.items():
        person = forms.invoke(sentence)
        assert isinstance(person, Person)
        right = (person.name, person.country) == expected
        yield Check("form", sentence, person.model_dump_json(), right)


def call_tools(chat: ChatLlava) -> Iterator[Check]:
    """Call `add`, forced by its name."""
    calling = chat.bind_tools([add], tool_choice="add")
    for task, expected in SUMS.items():
        (call,) = calling.invoke(task).tool_calls
        right = (call["name"], call["args"]) == ("add", expected)
        yield Check("call", task, f"{call['name']}({call['args']})", right)


def compare_with_generate(llava: Llava, model: Any, tokenizer: Any) -> Iterator[Check]:
    """Compare greedy tokens with `generate`; the prompt is written by the chat template.

    Args:
        llava: The engine.
        model: transformers' model of the same checkpoint.
        tokenizer: Its tokenizer.
    """
    for question in (*QUESTIONS, *REQUESTS):
        answer = llava.ask(question, max_tokens=COMPARED)
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=COMPARED, do_sample=False)
        tokens = output[0, inputs["input_ids"].shape[1] :].tolist()
        yield Check("generate", question, answer.text, list(answer.token_ids) == tokens)

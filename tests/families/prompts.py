"""The prompts that the models were trained on, byte for byte, with the files they were read in.

The texts are whole, so that nothing of the package is needed to make them. `<image>` stands for an
image wherever the model has another placeholder. What begins a prompt (`<s>`) is not shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llava_tools.core.requests import Message
from llava_tools.images import ImageRef


@dataclass(frozen=True)
class Published:
    """A model's prompts for the conversations below.

    Attributes:
        source: Repository and file, or "unverified: ..." where the model's own could not be read.
        no_image: One turn without an image.
        one_image: One turn with an image.
        two_images: One turn with two images. No source shows one: each image stands as a first
            image does, which is also what the chat template of llava-1.5-hf writes.
        three_turns: Three turns, with an image in the first.
        start: The token that begins a prompt, if any.
        ends: The tokens that end an answer.
    """

    source: str
    no_image: str
    one_image: str
    two_images: str
    three_turns: str
    start: str | None
    ends: tuple[str, ...]


_VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions. "
)

VICUNA_V1 = Published(
    source="haotian-liu/LLaVA: llava/conversation.py (conv_vicuna_v1)",
    no_image=_VICUNA + "USER: What is in the picture? ASSISTANT:",
    one_image=_VICUNA + "USER: <image>\nWhat is in the picture? ASSISTANT:",
    two_images=_VICUNA + "USER: <image>\n<image>\nWhat is in the picture? ASSISTANT:",
    three_turns=_VICUNA
    + "USER: <image>\nWhat is in the picture? ASSISTANT: A red circle.</s>"
    + "USER: How many dogs are there? ASSISTANT: Two.</s>"
    + "USER: Describe the image. ASSISTANT:",
    start="<s>",
    ends=("</s>",),
)

#: Vicuna's words on Qwen2's vocabulary.
VICUNA_V1_ON_CHATML = Published(
    source="TinyLLaVA/TinyLLaVA_Factory: tinyllava/data/template/qwen2_instruct_template.py",
    no_image=VICUNA_V1.no_image,
    one_image=VICUNA_V1.one_image,
    two_images=VICUNA_V1.two_images,
    three_turns=VICUNA_V1.three_turns.replace("</s>", "<|im_end|>"),
    start=None,
    ends=("<|im_end|>",),
)

LLAMA3 = Published(
    source="InternLM/xtuner: xtuner/utils/templates.py (llama3_chat), xtuner/dataset/map_fns",
    no_image="<|start_header_id|>user<|end_header_id|>\n\nWhat is in the picture?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    one_image="<|start_header_id|>user<|end_header_id|>\n\n<image>\nWhat is in the picture?"
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    two_images="<|start_header_id|>user<|end_header_id|>\n\n<image>\n<image>\n"
    "What is in the picture?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    three_turns="<|start_header_id|>user<|end_header_id|>\n\n<image>\nWhat is in the picture?"
    "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA red circle.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nHow many dogs are there?<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\nTwo.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nDescribe the image.<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n",
    start="<|begin_of_text|>",
    ends=("<|eot_id|>", "<|end_of_text|>"),
)

_CAPTIONER = (
    "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
    "Today Date: 26 July 2024\n\nYou are a helpful image captioner.<|eot_id|>"
)
_WRAPPED = "<|reserved_special_token_70|><image><|reserved_special_token_71|>"

#: The checkpoint's template could not be read; programs that re-implement it agree on this text.
JOYCAPTION = Published(
    source="fpgaminer/joycaption: finetuning/train.py (system sentence); unverified: the template",
    no_image=_CAPTIONER
    + "<|start_header_id|>user<|end_header_id|>\n\nWhat is in the picture?<|eot_id|>"
    + "<|start_header_id|>assistant<|end_header_id|>\n\n",
    one_image=_CAPTIONER
    + f"<|start_header_id|>user<|end_header_id|>\n\n{_WRAPPED}What is in the picture?<|eot_id|>"
    + "<|start_header_id|>assistant<|end_header_id|>\n\n",
    two_images=_CAPTIONER
    + f"<|start_header_id|>user<|end_header_id|>\n\n{_WRAPPED}{_WRAPPED}What is in the picture?"
    + "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    three_turns=_CAPTIONER
    + f"<|start_header_id|>user<|end_header_id|>\n\n{_WRAPPED}What is in the picture?<|eot_id|>"
    + "<|start_header_id|>assistant<|end_header_id|>\n\nA red circle.<|eot_id|>"
    + "<|start_header_id|>user<|end_header_id|>\n\nHow many dogs are there?<|eot_id|>"
    + "<|start_header_id|>assistant<|end_header_id|>\n\nTwo.<|eot_id|>"
    + "<|start_header_id|>user<|end_header_id|>\n\nDescribe the image.<|eot_id|>"
    + "<|start_header_id|>assistant<|end_header_id|>\n\n",
    start="<|begin_of_text|>",
    ends=("<|eot_id|>", "<|end_of_text|>", "<|eom_id|>"),
)

PHI3 = Published(
    source="InternLM/xtuner: xtuner/utils/templates.py (phi3_chat), xtuner/dataset/map_fns",
    no_image="<|user|>\nWhat is in the picture?<|end|>\n<|assistant|>\n",
    one_image="<|user|>\n<image>\nWhat is in the picture?<|end|>\n<|assistant|>\n",
    two_images="<|user|>\n<image>\n<image>\nWhat is in the picture?<|end|>\n<|assistant|>\n",
    three_turns="<|user|>\n<image>\nWhat is in the picture?<|end|>\n<|assistant|>\n"
    "A red circle.<|end|>\n<|user|>\nHow many dogs are there?<|end|>\n<|assistant|>\n"
    "Two.<|end|>\n<|user|>\nDescribe the image.<|end|>\n<|assistant|>\n",
    start="<s>",
    ends=("<|end|>", "<|endoftext|>"),
)

_QWEN = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"

INTERLEAVE = Published(
    source="LLaVA-VL/LLaVA-NeXT: llava/conversation.py (conv_qwen), llava/train/train.py",
    no_image=_QWEN + "<|im_start|>user\nWhat is in the picture?<|im_end|>\n<|im_start|>assistant\n",
    one_image=_QWEN
    + "<|im_start|>user\n<image>\nWhat is in the picture?<|im_end|>\n<|im_start|>assistant\n",
    two_images=_QWEN
    + "<|im_start|>user\n<image>\n<image>\nWhat is in the picture?<|im_end|>\n"
    + "<|im_start|>assistant\n",
    three_turns=_QWEN
    + "<|im_start|>user\n<image>\nWhat is in the picture?<|im_end|>\n"
    + "<|im_start|>assistant\nA red circle.<|im_end|>\n"
    + "<|im_start|>user\nHow many dogs are there?<|im_end|>\n"
    + "<|im_start|>assistant\nTwo.<|im_end|>\n"
    + "<|im_start|>user\nDescribe the image.<|im_end|>\n<|im_start|>assistant\n",
    start=None,
    ends=("<|im_end|>", "<|endoftext|>"),
)

_SMOLLM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

#: A language model alone; where an image would stand nobody has trained.
SMOLLM2 = Published(
    source="HuggingFaceTB/SmolLM2-135M-Instruct: tokenizer_config.json, read in public copies",
    no_image=INTERLEAVE.no_image.replace("You are a helpful assistant.", _SMOLLM),
    one_image=INTERLEAVE.one_image.replace("You are a helpful assistant.", _SMOLLM),
    two_images=INTERLEAVE.two_images.replace("You are a helpful assistant.", _SMOLLM),
    three_turns=INTERLEAVE.three_turns.replace("You are a helpful assistant.", _SMOLLM),
    start=None,
    ends=("<|im_end|>", "<|endoftext|>"),
)

#: The question that every first turn asks.
QUESTION = "What is in the picture?"


def conversations(first: ImageRef, second: ImageRef) -> Mapping[str, tuple[Message, ...]]:
    """Return the conversations of `Published` by the names of its fields."""
    return {
        "no_image": (Message("user", (QUESTION,)),),
        "one_image": (Message("user", (first, QUESTION)),),
        "two_images": (Message("user", (first, second, QUESTION)),),
        "three_turns": (
            Message("user", (first, QUESTION)),
            Message("assistant", ("A red circle.",)),
            Message("user", ("How many dogs are there?",)),
            Message("assistant", ("Two.",)),
            Message("user", ("Describe the image.",)),
        ),
    }

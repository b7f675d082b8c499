"""LLaVA's official preprocessing of a conversation, which counts tokens per round.

Follows llava/train/train.py (preprocess_multimodal, preprocess_v1) and llava/mm_utils.py
(tokenizer_image_token), and shares no code with the package: it builds `vicuna_v1` as one string,
lets the tokenizer find `</s>` in it, and measures each round by tokenizing it alone. As in
training, the tokenizer is not `legacy`.
"""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

IMAGE = -200
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives "
    "helpful, detailed, and polite answers to the user's questions."
)


def preprocess(
    turns: list[tuple[str, str]], tokenizer: PreTrainedTokenizerFast
) -> tuple[list[int], list[int]]:
    """Return ids, with `IMAGE` for the image, and labels, -100 where there is no loss.

    Args:
        turns: ("human" or "gpt", value) as in the JSON.
        tokenizer: One that splits roles as Llama's does.
    """
    prompt = f"{SYSTEM} "
    for speaker, value in turns:
        if speaker == "human":
            if "<image>" in value:
                value = ("<image>\n" + value.replace("<image>", "").strip()).strip()
            prompt += f"USER: {value} "
        else:
            prompt += f"ASSISTANT: {value}</s>"
    ids = _ids(prompt, tokenizer)
    labels = list(ids)
    position = 1
    labels[:position] = [-100]
    for number, round_ in enumerate(prompt.split("</s>")):
        if not round_:
            break
        question, _ = round_.split(" ASSISTANT: ")
        length = len(_ids(round_, tokenizer))
        masked = len(_ids(f"{question} ASSISTANT: ", tokenizer)) - 2
        if number > 0:  # USER is one token after </s>, and two at the start of a text
            length, masked = length - 1, masked - 1
        labels[position : position + masked] = [-100] * masked
        position += length
    assert position == len(ids), "the official code would warn, and learn nothing"
    return ids, labels


def _ids(text: str, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return `<s>`, then the pieces around images, each tokenized separately."""
    bos = [tokenizer.bos_token_id]
    ids: list[int] = []
    for number, piece in enumerate(text.split("<image>")):
        ids += [IMAGE] * (number > 0)
        ids += tokenizer(piece, add_special_tokens=False).input_ids
    return bos + ids


def preprocess_plain(
    caption: str, tokenizer: PreTrainedTokenizerFast
) -> tuple[list[int], list[int]]:
    """Return ids and labels of a caption in the first stage (preprocess_plain).

    The human's turn is replaced by the image's placeholder, and its tokens have no loss.
    """
    ids = _ids(f"<image>{caption}\n", tokenizer)
    masked = len(_ids("<image>", tokenizer))
    return ids, [-100] * masked + ids[masked:]

"""The tokenizer of the llava-hf layout, from Llama's tokenizer.model or from a tokenizer.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

from llava_tools.engine.loading.json_file import read_object
from llava_tools.errors import ModelError, require

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

#: Texts that show whether a converted tokenizer splits as SentencePiece does.
_SAMPLES = (
    "USER: What is this?\nAnswer in one word. ASSISTANT:",
    "  two  spaces\n\n\tand 1234567 digits ",
    "Größe: 3 µm; 東京、🙂",
    "\n",
)


def read_tokenizer(folder: Path, name: str) -> PreTrainedTokenizerFast:
    """Read a tokenizer, and add `<image>` and `<pad>` as the llava-hf layout has them.

    Raises:
        MissingExtraError: tokenizer.model is there, and the extra `convert` is not installed.
        ModelError: There is no tokenizer, or it cannot be converted; the message calls the model
            `name`.
    """
    try:
        tokenizer = _read(folder, name)
    except (ValueError, RuntimeError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(
            f"The tokenizer of {name!r} is damaged: {reason}", "Download the checkpoint again."
        ) from error
    if tokenizer.eos_token_id is None:
        raise ModelError(
            f"The tokenizer of {name!r} has no token that ends an answer (eos_token).",
            "Name it in tokenizer_config.json; Llama's is '</s>'.",
        )
    tokenizer.add_tokens(_special("<image>"), special_tokens=True)
    tokenizer.add_special_tokens({"pad_token": _special("<pad>")})
    tokenizer.padding_side = "left"
    return tokenizer


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a tokenizer so that all releases of transformers take its tokenizer.json as it is."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")


def _read(folder: Path, name: str) -> PreTrainedTokenizerFast:
    if (folder / "tokenizer.json").is_file():
        tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        return tokenizer
    if not (folder / "tokenizer.model").is_file():
        raise ModelError(
            f"{name!r} has neither tokenizer.model nor tokenizer.json.",
            "Download the checkpoint again, with its tokenizer.",
        )
    require("sentencepiece", extra="convert")
    from sentencepiece import SentencePieceProcessor

    reference = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    tokenizer = _from_sentencepiece(reference, _read_json(folder / "tokenizer_config.json"))
    for text in _SAMPLES:
        if tokenizer.encode(text, add_special_tokens=False) != reference.encode(text):
            raise ModelError(
                f"tokenizer.model of {name!r} splits texts in another way than Llama's.",
                "Put a tokenizer.json beside it.",
            )
    for token, index in sorted(
        _read_json(folder / "added_tokens.json").items(), key=lambda item: item[1]
    ):
        tokenizer.add_tokens(_special(token), special_tokens=True)
        if tokenizer.convert_tokens_to_ids(token) != index:
            raise ModelError(
                f"added_tokens.json of {name!r} gives {token!r} the id {index}, which does not "
                "follow on the others.",
                "Put a tokenizer.json beside it.",
            )
    return tokenizer


def _from_sentencepiece(
    reference: SentencePieceProcessor, config: dict[str, Any]
) -> PreTrainedTokenizerFast:
    """Build Llama's tokenizer from the pieces of a SentencePiece model.

    A piece's id is its rank. Control tokens such as `</s>` come about by no merge, as in
    SentencePiece, which never reads them from text.
    """
    pieces = {reference.id_to_piece(i): i for i in range(reference.vocab_size())}
    control = [piece for piece, i in pieces.items() if reference.is_control(i)]
    merges = [
        (piece[:cut], piece[cut:])
        for piece, i in pieces.items()
        if not reference.is_control(i)
        for cut in range(1, len(piece))
        if piece[:cut] in pieces and piece[cut:] in pieces
    ]
    unknown = reference.id_to_piece(reference.unk_id())
    backend = Tokenizer(
        models.BPE(pieces, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True)
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    backend.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    backend.add_special_tokens([_special(token) for token in (unknown, *control)])
    begin = reference.id_to_piece(reference.bos_id())
    backend.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A", pair=f"{begin} $A {begin} $B", special_tokens=[(begin, pieces[begin])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token=unknown,
        bos_token=begin,
        eos_token=reference.id_to_piece(reference.eos_id()),
        chat_template=config.get("chat_template"),
    )


def _read_json(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}


def _special(token: str) -> AddedToken:
    return AddedToken(token, special=True, normalized=False)

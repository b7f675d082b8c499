"""config.json as transformers reads it, without the code that a checkpoint may bring."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, PreTrainedConfig

from llava_tools.engine.loading.checkpoint_files import AGAIN, check_no_pointers
from llava_tools.engine.loading.json_file import read_object
from llava_tools.errors import ModelError

#: What transformers raises for values that make no sense.
_INVALID = (
    *(ValueError, TypeError, LookupError, AttributeError, OSError, StrictDataclassError),
    *(ArithmeticError, RuntimeError),
)


@contextmanager
def valid_config(name: str) -> Iterator[None]:
    """Turn what transformers raises for a configuration without sense into an error.

    Raises:
        ModelError: The block raised; the message calls the model `name`.
    """
    try:
        yield
    except _INVALID as error:
        raise ModelError(
            f"transformers cannot read config.json of {name!r}: {_reason(error)}", AGAIN
        ) from error


def read_config(folder: Path, name: str) -> PreTrainedConfig:
    """Return the configuration of the model `name`.

    Raises:
        ModelError: It is damaged, or of a type that transformers does not have.
    """
    _check_generation_config(folder, name)
    check_no_pointers(folder, ["config.json"], name)
    with valid_config(name):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    _forget_code(config)
    return config


def _forget_code(config: PreTrainedConfig) -> None:
    """Remove references to code, also for models that are created without an argument.

    Implementations of attention and experts can be kernels of a hub.
    """
    config._attn_implementation = config._experts_implementation = None  # and of its parts
    parts = [config, *(getattr(config, part, None) for part in config.sub_configs)]
    for part in parts:
        if part is not None:
            vars(part).pop("auto_map", None)


def _check_generation_config(folder: Path, name: str) -> None:
    """Check a file that transformers ignores if it is damaged, though it says what ends answers."""
    path = folder / "generation_config.json"
    if not path.is_file():
        return
    check_no_pointers(folder, [path.name], name)
    try:
        end = read_object(path).get("eos_token_id")
    except ValueError as error:
        raise ModelError(
            f"{path.name} of {name!r} is not a JSON object: {error}.", AGAIN
        ) from error
    ends = end if isinstance(end, list) else [] if end is None else [end]
    if not all(isinstance(item, int) for item in ends):
        raise ModelError(f"{path.name} of {name!r} has an invalid eos_token_id: {end!r}.", AGAIN)


def _reason(error: Exception) -> str:
    lines = str(error).strip().split("\n")
    text = " ".join(" ".join(lines[:2]).split())
    kind = type(error).__name__  # `KeyError` says nothing but the key
    return text if isinstance(error, OSError | StrictDataclassError) else f"{kind}: {text}"

"""`Calibration`: what makes a model's probabilities of labels mean how often they are right.

A calibration is a file, `calibration.json` in a model's folder or another one that the option
`calibration` names. `llava_tools.evaluation.trust.calibration` fits it, `llava_tools.label_scoring`
applies it to the scores of `Backend.score`, which are never changed themselves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from llava_tools.errors import ModelError

#: Name of the file in a model's folder.
FILE_NAME = "calibration.json"
#: Version of the file's layout.
VERSION = 1
_FIT = "Fit one: llava-tools calibrate --data FILE --model MODEL --out calibration.json"
_LARGEST = 1e300
_FIELDS = {"version", "model", "fingerprint", "data", "choice", "yes_no"}


@dataclass(frozen=True)
class Scaling:
    """Scales log-probabilities (Guo et al., "On Calibration of Modern Neural Networks", 2017).

    Attributes:
        temperature: Log-probabilities are divided by it; > 0. More than 1 makes a model less sure.
        bias: Added to the log odds of a yes after that; 0 for choices.
        count: Number of answers that it was fitted on; 0 if it was not fitted and changes nothing.
    """

    temperature: float = 1.0
    bias: float = 0.0
    count: int = 0


#: Changes nothing.
UNCHANGED = Scaling()


@dataclass(frozen=True)
class Calibration:
    """The scalings of a model, and where they come from.

    Attributes:
        model: Name of the model, as answers report it.
        fingerprint: Of its weight files; empty if a server ran it, which does not show them.
        data: What it was fitted on, in words.
        choice: For the labels of `Llava.choose`.
        yes_no: For whether an image shows what a text describes: `Llava.score`.
    """

    model: str
    fingerprint: str
    data: str
    choice: Scaling = UNCHANGED
    yes_no: Scaling = UNCHANGED

    def write(self, path: Path) -> None:
        """Write it as a file; see `read_calibration`."""
        content = {"version": VERSION, **asdict(self)}
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def check_model(self, path: Path, model: str, fingerprint: str | None) -> None:
        """Check that it was fitted for a model.

        Args:
            path: Its file.
            model: Name of the model, as answers report it.
            fingerprint: Of its weight files; None if they are on a server. Then only the name of a
                model that was calibrated through a server can be compared.

        Raises:
            ModelError: It was fitted for another one.
        """
        if fingerprint is None:
            if self.fingerprint or self.model == model:
                return
            reason = f"the server's model is {model!r}"
        elif fingerprint == self.fingerprint:
            return
        elif not self.fingerprint:
            reason = "it was fitted through a server, which does not show which weights it runs"
        else:
            reason = f"its weights are not those of {model!r}"
        raise ModelError(
            f"The calibration {path} was fitted for {self.model!r}: {reason}.",
            f"Remove it, or fit one for this model. {_FIT}",
        )


#: The calibration of a model without one.
UNCALIBRATED = Calibration("", "", "")


def read_calibration(path: Path) -> Calibration:
    """Read a calibration from its file.

    Raises:
        ModelError: There is none, or it is damaged or of a newer version.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(
            f"The calibration {path} cannot be read: {error.strerror}.", _FIT
        ) from None
    except (ValueError, RecursionError) as error:
        raise _damaged(path, f"it is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise _damaged(path, "it is no JSON object")
    if content.get("version") != VERSION:
        raise ModelError(
            f"The calibration {path} has version {content.get('version')!r}; this release reads "
            f"version {VERSION}.",
            f"Update llava-tools, or fit it again. {_FIT}",
        )
    if content.keys() != _FIELDS:
        raise _damaged(path, f"its fields are not {', '.join(sorted(_FIELDS))}")
    texts = {name: content[name] for name in ("model", "fingerprint", "data")}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise _damaged(path, f"{name} is {text!r:.80}, not a text")
    choice = _scaling(path, "choice", content["choice"])
    return Calibration(**texts, choice=choice, yes_no=_scaling(path, "yes_no", content["yes_no"]))


def _scaling(path: Path, name: str, content: Any) -> Scaling:
    if not isinstance(content, Mapping) or content.keys() != {"temperature", "bias", "count"}:
        raise _damaged(path, f"{name} does not have temperature, bias and count")
    for key, value in content.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not -_LARGEST < value < _LARGEST:  # NaN is in no range
            raise _damaged(path, f"{name}.{key} is {value!r:.80}, not a number")
    if content["temperature"] <= 0:
        raise _damaged(path, f"{name}.temperature is {content['temperature']}, and must be above 0")
    return Scaling(float(content["temperature"]), float(content["bias"]), int(content["count"]))


def _damaged(path: Path, reason: str) -> ModelError:
    return ModelError(f"The calibration {path} is damaged: {reason}.", _FIT)

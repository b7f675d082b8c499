"""LLaVA 1.5 as a model of lmms-eval, on your own machine or behind a server.

    lmms-eval --model llava_tools --model_args model=7b,device=cuda --tasks pope,gqa

lmms-eval finds `manifest` through its entry-point group `lmms_eval.models`; this package does not
depend on it. lmms-eval's tasks differ from the settings of LLaVA 1.5's paper, for which there is
`llava-tools eval`; docs/lmms_eval.md says how.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    import lmms_eval  # noqa: F401
except ImportError as error:
    from llava_tools.errors import MissingExtraError

    raise MissingExtraError("lmms-eval", "") from error

if TYPE_CHECKING:
    from lmms_eval.models.registry_v2 import ModelManifest

__all__ = ["manifest"]


def manifest() -> ModelManifest:
    """Return what lmms-eval registers under `llava_tools`."""
    from lmms_eval.models.registry_v2 import ModelManifest  # its package calls this function

    return ModelManifest(
        model_id="llava_tools",
        chat_class_path="lmms_eval_llava.model.LlavaTools",
        simple_class_path="lmms_eval_llava.simple.LlavaToolsSimple",
    )

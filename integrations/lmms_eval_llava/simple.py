"""`LlavaToolsSimple`, for `--force_simple`: a text, and images that stand before it."""

from __future__ import annotations

from lmms_eval.api.instance import GenerationResult, Instance

from llava_tools.errors import RequestError
from lmms_eval_llava.model import LlavaTools, _generation_result
from lmms_eval_llava.requests import sampling_params, user_turn


class LlavaToolsSimple(LlavaTools):
    """`LlavaTools` for lmms-eval's tasks of texts and images: `--force_simple`.

    Only those have log-likelihoods, such as `seedbench_ppl`.
    """

    is_simple = True

    def generate_until_multi_round(self, requests: list[Instance]) -> list[list[str]]:
        """Refuse: rounds are for tasks of messages.

        Raises:
            RequestError: Always.
        """
        raise RequestError(
            "Tasks of several rounds do not go with --force_simple.", "Leave it out."
        )

    def _generate(self, request: Instance) -> GenerationResult:
        context, arguments, doc_to_visual, *document = request.args
        visuals = self._locked(lambda: doc_to_visual(self._document(*document))) or ()
        return _generation_result(
            self._answer(user_turn(context, visuals), sampling_params(arguments))
        )

"""`LlavaTools`, a model of lmms-eval: requests are answered many at once by one engine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from typing import Any, TypeVar, cast

from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from tqdm import tqdm

from llava_tools.core.outputs import Answer
from llava_tools.core.requests import Message, Request, SamplingParams
from llava_tools.core.streaming import answer
from llava_tools.errors import ContextOverflowError, RequestError, check_count
from llava_tools.model import Llava
from llava_tools.options import EngineKeywords, EngineOptions
from lmms_eval_llava.requests import conversation, sampling_params, user_turn

_T = TypeVar("_T")

#: Requests that are answered at once, unless `--batch_size` says so.
_AT_ONCE = 32


class LlavaTools(lmms):  # type: ignore[misc]  # lmms-eval has no types
    """LLaVA 1.5 for lmms-eval's tasks of messages.

    Args:
        model: As for `llava_tools.Llava`.
        batch_size: Requests that are answered at once. lmms-eval's default, 1, and `auto` mean 32:
            the engine forms batches of its own, whose size does not change greedy answers.
        max_batch_size: The most for `auto`.
        **options: Fields of `llava_tools.options.EngineOptions`: device, quantization, base_url,
            ... The API key of a server comes from the environment variable LLAVA_API_KEY.

    Raises:
        RequestError: An unknown option or an impossible value, or several processes.
    """

    is_simple = False

    def __init__(
        self,
        model: str = "tiny",
        *,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise RequestError(
                "llava_tools runs in one process, and WORLD_SIZE is above 1.",
                "For several GPUs, serve the model there and set base_url.",
            )
        keywords = cast(EngineKeywords, options)
        EngineOptions.from_keywords(model, keywords, "llava_tools in lmms-eval")
        self._new_llava: Callable[[], Llava] = lambda: Llava(model, **keywords)
        self._llava = self._new_llava()
        self._at_once = _requests_at_once(batch_size, max_batch_size)
        self._documents = threading.Lock()  # data sets are not read from several threads

    def generate_until(self, requests: list[Instance]) -> list[GenerationResult]:
        """Return the answers, with the numbers of tokens."""
        return self._run(self._generate, requests)

    def generate_until_multi_round(self, requests: list[Instance]) -> list[list[str]]:
        """Return the answers of each round; the task writes a round's messages from the last's."""
        return self._run(self._generate_rounds, requests)

    def loglikelihood(self, requests: list[Instance]) -> list[GenerationResult]:
        """Return how unlikely each continuation is as the answer, and if it is the greedy one.

        lmms-eval takes the least of the first values, so they are losses, despite the method's
        name: the negative natural log-probability of the text and of the end of the turn. They are
        wrapped, since lmms-eval 0.7 makes a text of a pair that is not.
        """
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, request in enumerate(requests):  # the choices of a question go together
            key = (request.task_name, request.doc_id, request.args[0])
            groups.setdefault(key, []).append(index)
        scored = self._run(lambda group: self._score([requests[i] for i in group]), groups.values())
        results: dict[int, tuple[float, bool]] = {}
        for group, values in zip(groups.values(), scored, strict=True):
            results |= zip(group, values, strict=True)
        return [GenerationResult(cast(str, results[index])) for index in range(len(requests))]

    def clean(self) -> None:
        """Free the model's memory; a later request loads it again."""
        self._close()
        super().clean()

    def _close(self) -> None:
        """End the requests in flight, and free the model's memory."""
        self._llava.close()
        self._llava = self._new_llava()

    def _generate(self, request: Instance) -> GenerationResult:
        _, doc_to_messages, arguments, *document = request.args
        messages = self._locked(lambda: doc_to_messages(self._document(*document)))
        result = self._answer(conversation(messages), sampling_params(arguments))
        return _generation_result(result)

    def _generate_rounds(self, request: Instance) -> list[str]:
        _, doc_to_messages, arguments, *document = request.args
        sampling = sampling_params(arguments)
        messages = self._locked(lambda: doc_to_messages(self._document(*document)))
        texts: list[str] = []
        info = None
        while True:
            texts.append(self._answer(conversation(messages), sampling).text)
            with self._documents:
                turn = doc_to_messages(
                    self._document(*document),
                    round_idx=len(texts),
                    previous_output=list(texts),
                    previous_round_info=info,
                )
            if not isinstance(turn, tuple):  # the task has one round
                return texts
            messages, has_ended, _, info = turn
            if has_ended:
                return texts

    def _score(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Score the continuations of one context."""
        context, _, *rest = requests[0].args
        if not rest:
            raise RequestError(
                "The task scores choices without their question, which a chat model cannot.",
                "Leave out the metric acc_mutual_info.",
            )
        doc_to_visual, *document = rest
        visuals = self._locked(lambda: doc_to_visual(self._document(*document))) or ()
        labels = [self._continuation(request).strip() for request in requests]
        unique = list(dict.fromkeys(labels))
        messages = user_turn(context, visuals)
        values = self._llava.backend.score(Request(messages), unique)
        losses = {label: -value for label, value in zip(unique, values, strict=True)}
        longest = max(len(label.encode()) for label in unique)  # no token is shorter than a byte
        greedy = self._answer(messages, SamplingParams(max_tokens=longest + 1)).text.strip()
        return [(losses[label], label == greedy) for label in labels]

    def _continuation(self, request: Instance) -> str:
        _, continuation, *rest = request.args
        if isinstance(continuation, str):
            return continuation
        _, *document = rest
        return str(self._locked(lambda: continuation(self._document(*document))))

    def _answer(self, messages: tuple[Message, ...], sampling: SamplingParams) -> Answer:
        """Answer with as many tokens as wanted, or as the context holds."""
        backend = self._llava.backend
        request = Request(messages, sampling)
        try:
            return answer(backend, request)
        except ContextOverflowError:
            room = backend.context_length - backend.count_tokens(request)
            if sampling.max_tokens is None or room < 1:
                raise
        return answer(backend, Request(messages, replace(sampling, max_tokens=room)))

    def _document(self, index: int, task: str, split: str) -> Any:
        return self.task_dict[task][split][index]

    def _locked(self, read: Callable[[], Any]) -> Any:
        with self._documents:
            return read()

    def _run(self, work: Callable[[Any], _T], items: Iterable[Any]) -> list[_T]:
        """Return the results for all items, several at once; the first error ends it."""
        with ThreadPoolExecutor(self._at_once, "llava-tools-lmms-eval") as pool:
            futures = [pool.submit(work, item) for item in items]
            try:
                for future in tqdm(
                    as_completed(futures), total=len(futures), desc="Model Responding"
                ):
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._close()  # nobody waits for the other answers
                raise
        return [future.result() for future in futures]


def _generation_result(result: Answer) -> GenerationResult:
    usage = result.usage
    counts = TokenCounts(input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens)
    return GenerationResult(result.text, counts)


def _requests_at_once(batch_size: int | str, max_batch_size: int | None) -> int:
    if max_batch_size is not None:
        check_count("max_batch_size", max_batch_size)
    if batch_size == "auto":
        return max_batch_size or _AT_ONCE
    size = int(batch_size) if str(batch_size).isdecimal() else batch_size
    check_count("batch_size", size)
    return int(size) if int(size) > 1 else _AT_ONCE

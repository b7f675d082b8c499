from __future__ import annotations

import pickle

import pytest

from langchain_llava import ChatLlava, errors
from langchain_llava import compat as langchain
from llava_tools import errors as llava
from llava_tools.images.fetch import FetchError
from tests.core.blocked_backend import PLACES, BlockedBackend, Place


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (llava.RequestError("a", "b"), langchain.ModelInvalidRequestError),
        (llava.ImageError("a", "b"), langchain.ModelInvalidRequestError),
        (FetchError("a", "b"), langchain.ModelConnectionError),
        (llava.ContextOverflowError("a", "b"), langchain.ContextOverflowError),
        (llava.ModelError("a", "b"), langchain.ModelError),
        (llava.ModelNotFoundError("a", "b"), langchain.ModelNotFoundError),
        (llava.EngineError("a", "b"), langchain.ModelError),
        (llava.EngineClosedError("a", "b"), langchain.ModelError),
        (llava.EngineCrashedError("a", "b"), langchain.ModelAPIError),
        (llava.MemoryExhaustedError("a", "b"), langchain.ModelAPIError),
        (llava.QueueFullError("a", "b"), langchain.ModelRateLimitError),
    ],
)
def test_translated_error_is_of_both_projects(
    error: llava.LlavaToolsError, base: type[langchain.ModelError]
) -> None:
    with pytest.raises(base) as caught, errors.translated_errors():
        raise error
    translated = caught.value
    assert isinstance(translated, type(error))
    assert isinstance(translated, llava.LlavaToolsError)
    assert str(translated) == str(error) == "a b"
    assert (translated.message, translated.hint) == ("a", "b")
    assert translated.__cause__ is error
    assert translated.retryable == error.retryable
    assert getattr(translated, "is_retryable", error.retryable) == error.retryable
    copy = pickle.loads(pickle.dumps(translated))
    assert type(copy) is type(translated)
    assert str(copy) == "a b"


def test_every_error_has_a_translation() -> None:
    error_types: list[type[llava.LlavaToolsError]] = [
        item
        for item in vars(llava).values()
        if isinstance(item, type) and issubclass(item, llava.LlavaToolsError)
    ]
    for error_type in error_types:
        if error_type not in (llava.LlavaToolsError, llava.MissingExtraError):
            base: type[Exception] = langchain.ModelError
            if issubclass(error_type, llava.IndexStoreError | llava.ImageStoreError):  # of folders
                base = langchain.LangChainException
            assert isinstance(errors.translate(error_type("a", "b")), base), error_type


def test_missing_extra_is_not_translated() -> None:
    error = llava.MissingExtraError("torch", "torch")
    with pytest.raises(llava.MissingExtraError) as caught, errors.translated_errors():
        raise error
    assert caught.value is error


def test_other_errors_are_not_translated() -> None:
    with pytest.raises(KeyError), errors.translated_errors():
        raise KeyError("x")


def test_translated_error_is_not_translated_again() -> None:
    with pytest.raises(errors.LlavaTimeoutError) as caught, errors.translated_errors():
        raise errors.LlavaTimeoutError("a", "b")
    assert caught.value.__cause__ is None
    assert isinstance(caught.value, langchain.ModelTimeoutError)
    assert caught.value.retryable
    assert getattr(caught.value, "is_retryable", True)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", ["invoke", "ainvoke", "stream", "astream"])
async def test_timeout_raises_while_the_backend_blocks(method: str, place: Place) -> None:
    backend = BlockedBackend(place)
    model = ChatLlava(backend=backend, timeout=0.05)

    async def answer() -> None:
        if method in ("invoke", "stream"):
            list(getattr(model, method)("x"))
        elif method == "ainvoke":
            await model.ainvoke("x")
        else:
            _ = [chunk async for chunk in model.astream("x")]

    with pytest.raises(langchain.ModelTimeoutError, match=r"timeout=0\.05"):
        await answer()
    assert not backend.resumed.is_set()
    backend.resume.set()

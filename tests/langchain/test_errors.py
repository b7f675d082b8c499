from __future__ import annotations

import pickle

import pytest
from langchain_core import exceptions as langchain

from langchain_llava import errors
from llava_tools import errors as own
from llava_tools.images.fetch import FetchError


@pytest.mark.parametrize(
    ("error", "known_as"),
    [
        (own.RequestError("a", "b"), langchain.ModelInvalidRequestError),
        (own.ImageError("a", "b"), langchain.ModelInvalidRequestError),
        (FetchError("a", "b"), langchain.ModelConnectionError),
        (own.ContextOverflowError("a", "b"), langchain.ContextOverflowError),
        (own.ModelError("a", "b"), langchain.ModelError),
        (own.ModelNotFoundError("a", "b"), langchain.ModelNotFoundError),
        (own.EngineError("a", "b"), langchain.ModelError),
        (own.EngineClosedError("a", "b"), langchain.ModelError),
        (own.EngineCrashedError("a", "b"), langchain.ModelAPIError),
        (own.MemoryExhaustedError("a", "b"), langchain.ModelAPIError),
        (own.QueueFullError("a", "b"), langchain.ModelRateLimitError),
    ],
)
def test_an_error_is_both_ours_and_langchains(
    error: own.LlavaToolsError, known_as: type[langchain.ModelError]
) -> None:
    with pytest.raises(known_as) as caught, errors.as_langchain():
        raise error
    same = caught.value
    assert isinstance(same, type(error))
    assert isinstance(same, own.LlavaToolsError)
    assert str(same) == str(error) == "a b"
    assert (same.message, same.hint) == ("a", "b")
    assert same.__cause__ is error
    assert same.is_retryable == same.retryable == error.retryable
    again = pickle.loads(pickle.dumps(same))
    assert type(again) is type(same)
    assert str(again) == "a b"


def test_every_error_of_ours_has_a_twin() -> None:
    kinds: list[type[own.LlavaToolsError]] = [
        kind
        for kind in vars(own).values()
        if isinstance(kind, type) and issubclass(kind, own.LlavaToolsError)
    ]
    for kind in kinds:
        if kind not in (own.LlavaToolsError, own.MissingExtraError):
            base: type[Exception] = langchain.ModelError
            if kind is own.IndexStoreError:  # about a folder, not about a model
                base = langchain.LangChainException
            assert isinstance(errors.twin(kind("a", "b")), base), kind


def test_a_missing_extra_stays_what_it_is() -> None:
    error = own.MissingExtraError("torch", "torch")
    with pytest.raises(own.MissingExtraError) as caught, errors.as_langchain():
        raise error
    assert caught.value is error


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), errors.as_langchain():
        raise KeyError("x")


def test_a_twin_is_not_wrapped_again() -> None:
    with pytest.raises(errors.LlavaTimeoutError) as caught, errors.as_langchain():
        raise errors.LlavaTimeoutError("a", "b")
    assert caught.value.__cause__ is None
    assert isinstance(caught.value, langchain.ModelTimeoutError)
    assert caught.value.retryable
    assert caught.value.is_retryable

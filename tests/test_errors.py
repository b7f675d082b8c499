"""The form of error messages."""

from __future__ import annotations

import pickle

import pytest

from llava_tools.errors import LlavaToolsError, MissingExtraError, RequestError


@pytest.mark.parametrize(
    "error",
    [RequestError("Bad  value.\n", "Use a\nbetter one."), MissingExtraError("torch", "torch")],
)
def test_errors_are_one_line_and_survive_pickling(error: LlavaToolsError) -> None:
    assert "\n" not in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))

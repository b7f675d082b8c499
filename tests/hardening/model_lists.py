"""Lists of models that lie."""

from __future__ import annotations

from llava_tools.errors import (
    AnswerTimeoutError,
    ModelError,
    ModelNotFoundError,
    RequestError,
    ServerError,
)
from tests.hardening.server_answer import (
    Kind,
    echo,
    header_values,
    list_models,
    refusal,
    with_status,
)
from tests.remote.hostile_answers import NO_LIST
from tests.remote.hostile_server import (
    endless,
    head,
    http,
    slowly,
)

#: Lists of models that lie, and what comes of them if the chat answers rightly.
LISTS: dict[str, Kind] = {
    **{
        f"a list: {name}": Kind(answer, (ModelNotFoundError,), "models")
        for name, answer in NO_LIST.items()
    },
    "a model of escapes": Kind(
        list_models({"id": "\x1b[2J\n\u202e", "owned_by": "vllm"}), (None,), "models"
    ),
    "a model of a megabyte": Kind(
        list_models({"id": "x" * 2**20, "owned_by": "vllm"}), (None,), "models"
    ),
    "a context of one token": Kind(
        list_models({"id": "a", "owned_by": "vllm", "max_model_len": 1}),
        (None, RequestError),
        "models",
    ),
    "a context beyond all": Kind(
        list_models({"id": "a", "owned_by": "vllm", "max_model_len": 10**30}), (None,), "models"
    ),
    "a context of NaN": Kind(
        http('{"data": [{"id": "a", "max_model_len": NaN}]}'), (ModelNotFoundError,), "models"
    ),
    "an owner that it is not": Kind(
        list_models({"id": "a", "owned_by": "llava-tools"}), (None,), "models"
    ),
    "an owner of no name": Kind(
        list_models({"id": "a", "owned_by": {"a": []}}), (ServerError,), "models"
    ),
    "no model": Kind(list_models(), (ModelNotFoundError,), "models"),
    "models without names": Kind(list_models(5, {}, {"id": None}), (ModelNotFoundError,), "models"),
    "two models": Kind(
        list_models({"id": "\x1b[2Ja"}, {"id": "b\n"}), (ModelNotFoundError,), "models"
    ),
    "many models": Kind(
        list_models(*({"id": f"{'x' * 900}{number}"} for number in range(4000))),
        (ModelNotFoundError,),
        "models",
    ),
    "models without end": Kind(
        endless(b'{"id": "a"},' * 5000, head("200 OK") + b'{"data": ['), (ServerError,), "models"
    ),
    "lists in lists": Kind(
        http(b'{"data": [' + b"[]," * 1_200_000 + b"[]]}"), (ModelNotFoundError,), "models"
    ),
    "a list elsewhere": Kind(
        with_status("307 T", location="http://192.0.2.1/"), (RequestError,), "models"
    ),
    "a list for others": Kind(refusal("no", "401 X"), (ModelError,), "models"),
    "a list now and then": Kind(slowly(b"[", head("200 OK")), (AnswerTimeoutError,), "models"),
    "the key as a model": Kind(
        lambda request: list_models(
            {"id": "x"}, *({"id": value} for value in header_values(request))
        ),
        (ModelNotFoundError,),
        "models",
    ),
    "the key instead of a list": Kind(echo("500 X"), (ServerError,), "models"),
}

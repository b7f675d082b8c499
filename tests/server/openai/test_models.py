from __future__ import annotations

import pytest

from llava_tools import Llava
from llava_tools.server.options import ServerOptions
from llava_tools.server.service import Service
from llava_tools.testing import ScriptedBackend
from tests.server.conftest import MakeClient


def test_models_are_listed_with_what_they_take(make_client: MakeClient) -> None:
    client = make_client(ScriptedBackend(context_length=1234), model_names=("gpt-4o", "a/b"))
    listed = client.get("/v1/models").json()
    assert listed["object"] == "list"
    names = [entry["id"] for entry in listed["data"]]
    assert names[:3] == ["gpt-4o", "a/b", "scripted"]
    for entry in listed["data"]:
        assert entry["object"] == "model"
        assert (entry["owned_by"], entry["root"]) == ("llava-tools", "gpt-4o")
        assert entry["max_model_len"] == 1234
        assert entry["architecture"]["input_modalities"] == ["text", "image"]
        assert client.get(f"/v1/models/{entry['id']}").json() == entry


def test_an_unknown_model_is_not_found(make_client: MakeClient) -> None:
    response = make_client().get("/v1/models/gpt-5")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


def test_the_context_length_is_known_once_the_model_is_loaded() -> None:
    service = Service(ServerOptions(), Llava(backend=ScriptedBackend(context_length=999)))
    with pytest.raises(Exception, match="being loaded"):
        _ = service.context_length
    service.load()
    assert service.context_length == 999

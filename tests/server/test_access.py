from __future__ import annotations

import pytest

from tests.server.conftest import MakeClient

KEYS = ("first-key", "second-key")


@pytest.mark.parametrize("path", ["/health", "/version"])
def test_open_paths_need_no_key(make_client: MakeClient, path: str) -> None:
    assert make_client(api_keys=KEYS).get(path).status_code == 200


@pytest.mark.parametrize(
    "header", [None, "Bearer", "Bearer wrong-key", "first-key", "Basic first-key"]
)
def test_other_paths_need_a_key(make_client: MakeClient, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    response = make_client(api_keys=KEYS).get("/v1/nowhere", headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize("key", KEYS)
def test_a_key_gives_access(make_client: MakeClient, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    assert make_client(api_keys=KEYS).get("/v1/nowhere", headers=headers).status_code == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "10.0.0.1", "", "[", "[::1", "[localhost]"]
)
def test_a_foreign_host_name_is_refused_without_keys(make_client: MakeClient, host: str) -> None:
    response = make_client().get("/health", headers={"Host": host})
    assert response.status_code == 403


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "app.localhost"])
def test_own_host_names_are_taken(make_client: MakeClient, host: str) -> None:
    assert make_client().get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:3000", "http://[", ""]
)
def test_pages_of_other_origins_are_refused(make_client: MakeClient, origin: str) -> None:
    response = make_client().get("/health", headers={"Origin": origin})
    assert response.status_code == 403
    assert "--allow-origin" in response.json()["error"]["message"]


def test_own_and_allowed_origins_are_taken(make_client: MakeClient) -> None:
    client = make_client(allowed_origins=("https://app.example",))
    own = client.get("/health", headers={"Origin": "http://localhost"})
    allowed = client.get("/health", headers={"Origin": "https://app.example"})
    assert own.status_code == allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"


def test_browsers_may_ask_before_a_request_without_the_key(make_client: MakeClient) -> None:
    client = make_client(api_keys=KEYS, allowed_origins=("https://app.example",))
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    assert client.options("/v1/chat/completions", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/v1/nowhere", {"message", "type", "param", "code"}),
        ("/nowhere", {"message", "type", "param", "code"}),
    ],
)
def test_unknown_paths_have_openai_errors(
    make_client: MakeClient, path: str, form: set[str]
) -> None:
    response = make_client().get(path)
    assert response.status_code == 404
    assert response.json()["error"].keys() == form


def test_unknown_paths_of_ollama_have_its_errors(make_client: MakeClient) -> None:
    response = make_client().get("/api/nowhere")
    assert (response.status_code, response.json()) == (404, {"error": "Not Found"})

"""Certificates are checked, and what errors tell is fit to be shown."""

from __future__ import annotations

import pickle
import ssl
import subprocess
from pathlib import Path

import pytest

from llava_tools.errors import ImageError
from llava_tools.images import fetch
from llava_tools.images.fetch import Fetcher, FetchError, displayed
from tests.images.fetching.site import IMAGE, Site, refusal, send


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of its own authority, for `images.lan` alone."""
    folder = tmp_path_factory.mktemp("tls")
    made = subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-keyout key.pem -out cert.pem -subj /CN=pictures.lan "
        "-addext subjectAltName=DNS:pictures.lan",
        shell=True,
        cwd=folder,
        capture_output=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip("needs the openssl command to make a certificate")
    return folder


def test_tls_verifies_the_name(
    certificate: Path, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    site = Site(serving)
    site.answers["/a.png"] = send(IMAGE)
    names.update({"pictures.lan": ["127.0.0.1"], "other.lan": ["127.0.0.1"]})
    fetcher = Fetcher(allowed_hosts=frozenset({"pictures.lan", "other.lan"}))
    url = site.url(host="pictures.lan", scheme="https")
    try:
        assert "certificate" in refusal(url, fetcher, retryable=True)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
        assert fetcher.get(url) == IMAGE
        assert site.seen[0][1]["Host"] == f"pictures.lan:{site.port}"
        other = site.url(host="other.lan", scheme="https")
        assert "certificate" in refusal(other, fetcher, retryable=True)
        assert len(site.seen) == 1
    finally:
        site.close()


def test_names_in_messages_hold_no_secrets() -> None:
    assert displayed("https://me:pass@host/a.png?token=1#x") == "https://host/a.png"
    assert len(displayed("https://host/" + "a" * 500)) <= 100
    assert displayed("http://host/\x1b[31m") == "http://host/\\x1b[31m"
    assert "pass" not in displayed("http://me:pass@[broken/a")


def test_errors_travel() -> None:
    error = FetchError("It failed.", "Try it again.")
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), str(twin), twin.retryable) == (FetchError, str(error), True)
    assert fetch.FetchError.retryable
    assert not ImageError.retryable

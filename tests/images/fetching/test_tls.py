"""TLS certificates are verified, and fetch errors can be pickled."""

from __future__ import annotations

import pickle
import ssl
import subprocess
from pathlib import Path

import pytest

from llava_tools.errors import ImageError
from llava_tools.images.fetch import Fetcher, FetchError
from tests.images.fetching.site import IMAGE, Site, refusal, send


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for `images.lan` alone."""
    folder = tmp_path_factory.mktemp("tls")
    process = subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-keyout key.pem -out cert.pem -subj /CN=images.lan "
        "-addext subjectAltName=DNS:images.lan",
        shell=True,
        cwd=folder,
        capture_output=True,
        check=False,
    )
    if process.returncode != 0:
        pytest.skip("needs the openssl command to make a certificate")
    return folder


def test_tls_verifies_the_name(
    certificate: Path, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    site = Site(context)
    site.answers["/a.png"] = send(IMAGE)
    names.update({"images.lan": ["127.0.0.1"], "other.lan": ["127.0.0.1"]})
    fetcher = Fetcher(allowed_hosts=frozenset({"images.lan", "other.lan"}))
    url = site.url(host="images.lan", scheme="https")
    try:
        assert "certificate" in refusal(url, fetcher, retryable=True)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert.pem"))
        assert fetcher.get(url) == IMAGE
        assert site.requests[0][1]["Host"] == f"images.lan:{site.port}"
        other = site.url(host="other.lan", scheme="https")
        assert "certificate" in refusal(other, fetcher, retryable=True)
        assert len(site.requests) == 1
    finally:
        site.close()


def test_errors_can_be_pickled() -> None:
    error = FetchError("It failed.", "Try it again.")
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), str(twin), twin.retryable) == (FetchError, str(error), True)
    assert FetchError.retryable
    assert not ImageError.retryable

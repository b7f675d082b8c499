"""An index in object storage, that of a local S3 server: `pip install "moto[s3,server]"`."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llava_tools.errors import IndexStoreError, RequestError
from llava_tools.retrieval import PageIndex, snapshots
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_pdf

moto_server = pytest.importorskip("moto.server")
pytestmark = pytest.mark.slow

SECRET, KEY_ID = "very-secret-key", "AKIAEXAMPLE"


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, str]]:
    """Storage options of a server with an empty bucket named `bucket`."""
    boto3 = pytest.importorskip("boto3")

    server = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client: Any = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
    )
    client.create_bucket(Bucket="bucket")
    yield {
        "aws_access_key_id": KEY_ID,
        "aws_secret_access_key": SECRET,
        "region": "us-east-1",
        "endpoint": url,
        "allow_http": "true",
    }
    server.stop()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    write_pdf(folder / "a.pdf", ["Invoice total 42", "Descaling the machine"])
    Image.new("RGB", (50, 30), "red").save(folder / "r.png")
    return folder


def test_one_writer_and_many_readers(
    files: Path, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "REFRESH_SECONDS", 0.0)
    where = "s3://bucket/shared"
    writer = PageIndex(where, ScriptedEmbedder(), storage_options=options)
    assert writer.plan([files]).pages == 3
    report = writer.update([files], keep_images=True)
    assert (report.documents, report.added, report.skipped) == (2, 3, ())
    readers = [PageIndex(where, ScriptedEmbedder(), storage_options=options) for _ in range(2)]
    readers.append(pickle.loads(pickle.dumps(PageIndex(where, storage_options=options))))
    for reader in readers:
        (hit,) = reader.search("descaling", mode="text")
        assert (Path(hit.document).name, hit.page) == ("a.pdf", 2)
        assert reader.thumbnail(hit)
    assert len(readers[0].search("a red page")) == 3
    write_pdf(files / "b.pdf", ["A new total"])
    (files / "r.png").unlink()
    report = writer.update([files])
    assert (report.documents, report.added, report.unchanged, report.removed) == (2, 1, 1, 1)
    for reader in readers:
        assert len(reader.search("total", mode="text")) == 2
    shutil.rmtree(files)
    assert readers[0].open(hit).size == hit.size
    assert readers[0].calibration == writer.calibration
    assert readers[0].stats().bytes is None
    assert not Path("s3:").exists()


def test_second_writer_is_noticed(files: Path, options: dict[str, str]) -> None:
    where = "s3://bucket/two-writers"
    PageIndex(where, ScriptedEmbedder(), storage_options=options).update([files])
    write_pdf(files / "b.pdf", [f"page {number}" for number in range(40)])
    others = 0

    def write_meanwhile(image: object) -> tuple[float, float]:
        nonlocal others
        others += 1
        if others == 1:
            write_pdf(files / "c.pdf", ["Another page"])
            index = PageIndex(where, ScriptedEmbedder(), storage_options=options)
            index.update([files / "c.pdf"])
        return (1.0, 0.0)

    first = PageIndex(where, ScriptedEmbedder(images=write_meanwhile), storage_options=options)
    with pytest.raises(IndexStoreError, match="is being written by another process"):
        first.update([files])
    index = PageIndex(where, ScriptedEmbedder(), storage_options=options)
    report = index.update([files])
    assert (report.documents, report.skipped) == (4, ())
    assert index.store.count() == 44
    assert set(index.store.page_counts().values()) == {1, 2, 40}


@pytest.mark.parametrize(
    ("changed", "uri"),
    [
        ({}, "s3://nowhere/index"),
        ({"endpoint": "http://127.0.0.1:9"}, "s3://bucket/index"),
    ],
)
def test_errors_name_the_index_and_no_secret(
    files: Path, options: dict[str, str], changed: dict[str, str], uri: str
) -> None:
    fast = {"client_max_retries": "0", "client_retry_timeout": "1", "connect_timeout": "1s"}
    index = PageIndex(uri, ScriptedEmbedder(), storage_options=options | fast | changed)
    for call in (lambda: index.search("total"), lambda: index.update([files])):
        with pytest.raises(IndexStoreError, match="Check bucket, region, endpoint") as caught:
            call()
        text = f"{caught.value!r} {index!r} {caught.value.__cause__!r}"
        assert uri in text
        assert SECRET not in text
        assert KEY_ID not in text


@pytest.mark.parametrize(
    ("uri", "options", "reason"),
    [
        ("s3://key:secret@bucket/index", None, "credentials"),
        ("s3://bucket/index?secret=x", None, "credentials"),
        ("http://host/index", None, "cannot be kept at 'http://'"),
        ("memory://", None, "cannot be kept at"),
        ("folder", {"region": "x"}, "'folder' is a folder"),
    ],
)
def test_wrong_uris_are_refused_without_their_secrets(
    uri: str, options: dict[str, str] | None, reason: str
) -> None:
    with pytest.raises(RequestError, match=reason) as caught:
        PageIndex(uri, storage_options=options)
    assert "secret" not in str(caught.value)

"""`llava-tools index`, `search` and `ask --index`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llava_tools import model_cache
from llava_tools.cli.main import main
from llava_tools.options import EmbeddingOptions, EngineOptions
from llava_tools.testing import ScriptedBackend, ScriptedEmbedder
from tests.retrieval.documents import write_pdf


class _Embedder(ScriptedEmbedder):
    def close(self) -> None:
        pass


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> ScriptedBackend:
    scripted = ScriptedBackend(["42"])

    def load(options: EngineOptions) -> ScriptedBackend:
        return scripted

    def load_embedder(options: EmbeddingOptions) -> _Embedder:
        return _Embedder()

    monkeypatch.setattr(model_cache, "engines", model_cache.ModelCache(load))
    monkeypatch.setattr(model_cache, "embeddings", model_cache.ModelCache(load_embedder))
    return scripted


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    path.mkdir()
    write_pdf(path / "a.pdf", ["A cover page", "The total is 42 euro"])
    return path


def test_index_search_and_ask(
    backend: ScriptedBackend, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = str(tmp_path / "index")
    assert main(["index", str(folder), "--to", where]) == 0
    assert "1 documents" in (out := capsys.readouterr().out)
    assert "2 pages added" in out
    assert main(["index", str(folder), "--to", where, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["added"], report["unchanged"], report["skipped"]) == (0, 1, [])

    assert main(["search", where, "total euro", "--json", "-k", "1"]) == 0
    (hit,) = json.loads(capsys.readouterr().out)
    assert set(hit) == {"document", "page", "score", "handle", "snippet", "size"}
    assert (hit["document"], hit["page"]) == (str(folder / "a.pdf"), 2)
    assert main(["search", where, "total euro", "--mode", "text"]) == 0
    assert "page 2" in (out := capsys.readouterr().out)
    assert "The total is 42 euro" in out

    assert main(["ask", "--index", where, "What is the total?", "--json", "-k", "1"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["answer"] == "42"
    assert answer["citations"][0]["page"] == 2
    assert len(answer["citations"][0]["box"]) == 4
    assert main(["ask", "--index", where, "What is the total?"]) == 0
    output = capsys.readouterr()
    assert output.out.startswith("42\n")
    assert f"{folder / 'a.pdf'}, page 2  box [" in output.out
    assert "embedded model" in output.err


def test_ask_exports_cited_pages_and_takes_the_options_of_the_search(
    backend: ScriptedBackend, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where, cited = str(tmp_path / "index"), tmp_path / "cited"
    assert main(["index", str(folder), "--to", where]) == 0
    capsys.readouterr()
    flags = ["--mode", "text", "--top", "1", "--no-text", "--no-zoom", "--export", str(cited)]
    assert main(["ask", "--index", where, "What is the total?", *flags]) == 0
    out = capsys.readouterr().out
    (image,) = cited.iterdir()
    assert out.startswith("42\n")
    assert " of 1008 x 1344" in out
    assert f"    {image}\n" in out
    assert len(backend.requests) == 1
    assert "OCR token" not in backend.requests[0].messages[-1].text

    assert main(["ask", "--index", where, "What is the total?", *flags, "--long", "--json"]) == 0
    (citation,) = json.loads(capsys.readouterr().out)["citations"]
    assert citation["exported"] == str(image)
    assert (len(citation["normalized_box"]), citation["size"]) == (4, [1008, 1344])
    assert "phrase" not in backend.requests[-1].messages[-1].text
    assert main(["ask", "--index", where, "What is the total?", "--rerank", "--no-zoom"]) == 0


def test_f5_ask_names_a_skipped_file_and_exits_with_3(
    backend: ScriptedBackend, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pdf(folder / "b.pdf", ["The total is unknown"])
    where = str(tmp_path / "index")
    assert main(["index", str(folder), "--to", where]) == 0
    (folder / "b.pdf").unlink()
    capsys.readouterr()
    assert main(["ask", "--index", where, "What is the total?"]) == 3
    output = capsys.readouterr()
    assert output.out.startswith("42\n")
    assert f"skipped {folder / 'b.pdf'}: " in output.err


def test_ask_prints_that_the_documents_have_no_answer(
    backend: ScriptedBackend, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = str(tmp_path / "index")
    assert main(["index", str(folder), "--to", where]) == 0
    capsys.readouterr()
    assert main(["ask", "--index", where, "zebra", "--mode", "text"]) == 0
    assert capsys.readouterr().out == "Not in these documents.\n"
    assert main(["ask", "--index", where, "zebra", "--mode", "text", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["found"], value["citations"]) == (False, [])


def test_skipped_files_are_listed_and_exit_with_3(
    backend: ScriptedBackend, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7")
    assert main(["index", str(folder), "--to", str(tmp_path / "index")]) == 3
    out = capsys.readouterr()
    assert "1 skipped" in out.out
    assert f"skipped {folder / 'broken.pdf'}: " in out.err
    assert "is broken" in out.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["search", "nowhere", "x"], "There is no index in 'nowhere'"),
        (["ask", "--index", "nowhere", "x"], "There is no index in 'nowhere'"),
        (["ask", "--index", "nowhere", "x", "y"], "one question, not 2"),
        (["index", "nowhere", "--to", "somewhere"], "no file or folder 'nowhere'"),
        (["search", "nowhere", "x", "-k", "0"], "k=0"),
        (["search", "nowhere", "x", "--mode", "smell"], "mode='smell'"),
    ],
)
def test_wrong_use_prints_one_line_and_exits_with_2(
    backend: ScriptedBackend,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert reason in err
    assert not list(tmp_path.iterdir())

"""`llava-tools search` and `llava-tools documents`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from llava_tools import model_cache
from llava_tools.cli.main import main
from llava_tools.options import EmbeddingOptions
from llava_tools.testing import ScriptedEmbedder
from tests.retrieval.documents import write_pdf

Output = pytest.CaptureFixture[str]


class _Embedder(ScriptedEmbedder):
    def close(self) -> None:
        pass


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "in"
    (path / "sub").mkdir(parents=True)
    write_pdf(path / "a.pdf", ["A cover page", "The total is 42 euro"])
    write_pdf(path / "sub" / "b.pdf", ["Another total"])
    Image.new("RGB", (30, 20), "red").save(path / "sub" / "red.png")
    return path


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, folder: Path, tmp_path: Path, capsys: Output) -> str:
    def load(options: EmbeddingOptions) -> _Embedder:
        return _Embedder()

    monkeypatch.setattr(model_cache, "embeddings", model_cache.ModelCache(load))
    where = str(tmp_path / "index")
    assert main(["index", str(folder / "a.pdf"), "--to", where, "--metadata", "team=pumps"]) == 0
    assert main(["index", str(folder), "--to", where]) == 0
    capsys.readouterr()
    return where


def found(capsys: Output, *arguments: str) -> list[tuple[str, int]]:
    """Search, and return names and pages."""
    code = main(["search", *arguments, "--json"])
    hits = json.loads(capsys.readouterr().out)
    assert code == (0 if hits else 1)
    return sorted((Path(hit["document"]).name, hit["page"]) for hit in hits)


@pytest.mark.parametrize("mode", ["text", "hybrid"])
def test_nothing_found_is_reported_and_exits_with_1(
    index: str, mode: str, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "zxqv" if mode == "text" else '"total cover"'
    assert main(["search", index, query, "--mode", mode]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("llava-tools: nothing found: no page of the index is near to")
    assert main(["search", index, query, "--mode", mode, "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("flags", "pages"),
    [
        ([], [("a.pdf", 2), ("b.pdf", 1)]),
        (["--folder", "sub"], [("b.pdf", 1)]),
        (["--pages", "2"], [("a.pdf", 2)]),
        (["--pages", "2-9"], [("a.pdf", 2)]),
        (["--pages", "-1"], [("b.pdf", 1)]),
        (["--where", "team=pumps"], [("a.pdf", 2)]),
        (["--where", "team=fans"], []),
        (["--type", ".PDF"], [("a.pdf", 2), ("b.pdf", 1)]),
        (["--type", "png"], []),
        (["--since", "2020-01-01"], [("a.pdf", 2), ("b.pdf", 1)]),
        (["--until", "2020"], []),
        (["--since", "2020-01-01T10:30"], [("a.pdf", 2), ("b.pdf", 1)]),
    ],
)
def test_flags_filter_pages(
    index: str,
    folder: Path,
    flags: list[str],
    pages: list[tuple[str, int]],
    capsys: Output,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    flags = [f"--pages={flags[1]}"] if flags[:1] == ["--pages"] else flags
    assert found(capsys, index, "total", "--mode", "text", *flags) == pages


def test_an_image_finds_pages(index: str, folder: Path, capsys: Output) -> None:
    image = str(folder / "sub" / "red.png")
    assert ("red.png", 1) in found(capsys, index, "--image", image)
    assert main(["search", index, "red", "--image", image]) == 2
    assert "not both" in capsys.readouterr().err
    assert main(["search", index]) == 2
    assert "no words" in capsys.readouterr().err


def test_f7_pages_found_are_exported_with_the_words_framed(
    index: str, folder: Path, tmp_path: Path, capsys: Output
) -> None:
    assert main(["search", index, "total", "--mode", "text", "--json"]) == 0
    pages = json.loads(capsys.readouterr().out)
    assert [page["size"] for page in pages] == [[1008, 1344]] * 2
    assert not any("box" in page for page in pages)

    flags = ["--mode", "text", "--export", str(tmp_path / "new" / "found")]
    assert main(["search", index, '"total is"', *flags, "--json"]) == 0
    (page,) = json.loads(capsys.readouterr().out)
    file = tmp_path / "new" / "found" / "01-a-page-2.png"
    assert (page["exported"], page["size"]) == (str(file), [1008, 1344])
    image = Image.open(file).convert("RGB")
    assert image.size == (1008, 1344)
    x1, y1, x2, y2 = page["box"]
    assert image.getpixel((x1 - 2, (y1 + y2) // 2)) == (255, 0, 0)
    scaled = [
        edge * side for edge, side in zip(page["normalized_box"], (1008, 1344) * 2, strict=True)
    ]
    assert scaled == pytest.approx([x1, y1, x2, y2], abs=0.1)

    assert main(["search", index, "total", *flags]) == 0
    assert f"\n   {file.with_name('02-a-page-2.png')}\n" in capsys.readouterr().out
    image_flags = ["--image", str(folder / "sub" / "red.png"), "-k", "3", "--type", "png"]
    assert main(["search", index, *image_flags, *flags[2:], "--json"]) == 0
    (page,) = json.loads(capsys.readouterr().out)
    assert (page["box"], page["normalized_box"], page["size"]) == (None, None, [30, 20])
    assert Image.open(page["exported"]).size == (30, 20)


def test_a_page_that_cannot_be_exported_is_skipped_and_exits_with_3(
    index: str, folder: Path, tmp_path: Path, capsys: Output
) -> None:
    (folder / "sub" / "b.pdf").unlink()
    flags = ["--mode", "text", "--export", str(tmp_path / "found"), "--json"]
    assert main(["search", index, "total", *flags]) == 3
    output = capsys.readouterr()
    exported = {Path(p["document"]).name: p["exported"] for p in json.loads(output.out)}
    assert exported["b.pdf"] is None
    assert Path(exported["a.pdf"]).parent == tmp_path / "found"
    assert len(list((tmp_path / "found").iterdir())) == 1
    assert output.err.startswith(f"llava-tools: skipped {folder / 'sub' / 'b.pdf'}: ")

    (tmp_path / "file").write_text("")
    assert main(["search", index, "total", "--export", str(tmp_path / "file" / "x")]) == 2
    assert "cannot be written to: Not a directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "nowhere", "x"],
        ["search", "nowhere", "x", "--mode", "text", "--export", "nowhere"],
        ["ask", "--index", "nowhere", "what is this?"],
        ["documents", "list", "nowhere"],
        ["documents", "stats", "nowhere"],
        ["documents", "remove", "nowhere", "x.pdf"],
    ],
)
def test_an_index_that_does_not_exist_is_not_created(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert "There is no index in 'nowhere'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_documents_are_listed_measured_and_removed(
    index: str, folder: Path, capsys: Output
) -> None:
    assert main(["documents", "list", index, "--where", "team=pumps"]) == 0
    assert capsys.readouterr().out.startswith(f"{folder / 'a.pdf'}  (2 pages, 20")
    assert main(["documents", "list", index, "--json"]) == 0
    assert [row["pages"] for row in json.loads(capsys.readouterr().out)] == [2, 1, 1]
    assert main(["documents", "stats", index]) == 0
    assert "pages without text: 1" in capsys.readouterr().out
    assert main(["documents", "remove", index, str(folder / "sub")]) == 0
    assert "2 documents removed" in capsys.readouterr().out
    assert main(["documents", "stats", index, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["documents"] == 1
    assert (folder / "sub" / "b.pdf").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["documents", "remove", "INDEX"], "takes paths"),
        (["documents", "remove", "INDEX", "nowhere.pdf"], "is not in the index"),
        (["documents", "list", "INDEX", "x.pdf"], "for `remove`"),
        (["search", "INDEX", "x", "--where", "team"], "NAME=VALUE"),
        (["search", "INDEX", "x", "--pages", "one"], "are no pages"),
        (["search", "INDEX", "x", "--pages", "5-2"], "are no pages"),
        (["search", "INDEX", "x", "--pages", "0"], "are no pages"),
        (["search", "INDEX", "x", "--since", "yesterday"], "--since 'yesterday' is no date"),
        (["search", "INDEX", "x", "--until", "2026-02-30"], "--until '2026-02-30' is no date"),
        (["search", "INDEX", "x", "--until", "2026-1"], "is no date"),
        (["search", "INDEX", "total", "--mode", "text", "--export", ""], "folder is empty"),
        (["search", "INDEX", "total", "--mode", "text", "--export", "a\0"], "no name of a folder"),
        (["search", "", "x"], "name of the index is empty"),
        (["ask", "--index", "", "x"], "name of the index is empty"),
        (["search", "~nobody-here/x", "x"], "no index in '~nobody-here/x'"),
        (["index", "", "--to", "other"], "no file or folder ''"),
        (["index", "~nobody-here/x", "--to", "other"], "no file or folder '~nobody-here/x'"),
    ],
)
def test_impossible_requests_are_refused(
    index: str,
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [index if word == "INDEX" else word for word in arguments]
    assert main(words) == 2
    assert message in capsys.readouterr().err

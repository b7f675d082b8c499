"""The command line: its output; bad input prints one line and exits with 2."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from llava_tools import model_cache
from llava_tools.cli.main import main
from llava_tools.errors import EngineCrashedError
from llava_tools.testing import ScriptedBackend


def test_ask_prints_the_answer(
    backend: ScriptedBackend, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", image, image, "What colour?", "--max-tokens", "7"]) == 0
    out = capsys.readouterr()
    assert out.out == "It is red.\n"
    assert "embedded model knows drawn shapes" in out.err
    assert len(backend.requests[0].messages[-1].images) == 2
    assert backend.requests[0].sampling.max_tokens == 7


def test_package_runs_as_a_module(
    backend: ScriptedBackend,
    image: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["llava-tools", "ask", image, "What colour?"])
    handler = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as error:
            runpy.run_module("llava_tools", run_name="__main__")
    finally:  # it leaves the system's own handler for the exit
        signal.signal(signal.SIGINT, handler)
    assert error.value.code == 0
    assert capsys.readouterr().out == "It is red.\n"


def test_ask_json(backend: ScriptedBackend, image: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", image, "What colour?", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["answer"] == "It is red."
    assert result["finish_reason"] == "stop"
    assert result["usage"]["image_tokens"] == 576
    assert set(result["timings"]) == {"prepare", "first_token", "total"}


def test_animation_prints_a_warning(
    backend: ScriptedBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert main(["ask", str(tmp_path / "two.gif"), "What?"]) == 0
    err = capsys.readouterr().err
    assert "first" in err
    assert "two.gif" in err


def _bad_files(folder: Path) -> dict[str, bytes]:
    jpeg = folder / "whole.jpg"
    Image.effect_noise((64, 64), 50).save(jpeg)
    header = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (50_000).to_bytes(4, "big") * 2
    return {
        "empty.png": b"",
        "text.png": b"these are only words, no image at all\n",
        "cut.jpg": jpeg.read_bytes()[:900],
        "huge.png": header + b"\x08\x02\0\0\0" + b"\0\0\0\0",
    }


@pytest.mark.parametrize("name", ["nofile.png", "", "empty.png", "text.png", "cut.jpg", "huge.png"])
def test_bad_images_print_one_line_and_exit_with_2(
    backend: ScriptedBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for file, content in _bad_files(tmp_path).items():
        (tmp_path / file).write_bytes(content)
    assert main(["ask", str(tmp_path / name), "What?"]) == 2
    out = capsys.readouterr()
    assert out.out == ""
    assert out.err.count("\n") == 1
    assert out.err.startswith("llava-tools: error: ")
    assert (name or tmp_path.name) in out.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--max-tokens", "-3"], "max_tokens=-3"),
        (["--temperature", "-1"], "temperature=-1.0"),
        (["--quantization", "3bit"], "quantization='3bit'"),
        (["--base-url", "localhost"], "base_url='localhost'"),
        (["--max-token", "x"], "--max-token"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_bad_options_print_one_line_and_exit_with_2(
    backend: ScriptedBackend,
    image: str,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    reason: str,
) -> None:
    try:
        code: object = main(["ask", image, "What?", *arguments])
    except SystemExit as exit_:
        code = exit_.code
    err = capsys.readouterr().err
    assert code == 2
    assert err.count("\n") == 1
    assert reason in err


def test_unknown_model_suggests_a_known_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ask", "Hello?", "--model", "tny"]) == 2
    assert "Did you mean 'tiny'" in capsys.readouterr().err


def test_missing_question_is_an_error(
    backend: ScriptedBackend, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", image]) == 2
    assert "question is missing" in capsys.readouterr().err


def test_failing_engine_exits_with_1(
    backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crash(request: object) -> object:
        raise EngineCrashedError("a fuse blew.")

    monkeypatch.setattr(backend, "stream", crash)
    assert main(["ask", "Hello?"]) == 1
    assert capsys.readouterr().err == "llava-tools: error: a fuse blew.\n"


def test_interrupt_exits_with_130(
    backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(request: object) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(backend, "stream", interrupt)
    assert main(["ask", "Hello?"]) == 130


def test_interrupt_of_an_import_is_silent_whatever_it_raises(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """I14: C extensions turn an interrupt into another error."""

    def load(options: object) -> ScriptedBackend:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            raise ImportError("initialization failed") from None
        raise AssertionError("no interrupt came")

    monkeypatch.setattr(model_cache, "engines", model_cache.ModelCache(load))
    handler = signal.getsignal(signal.SIGINT)
    assert main(["ask", "Hello?"]) == 130
    assert capsys.readouterr() == ("", "")
    assert signal.getsignal(signal.SIGINT) is handler


def test_interrupt_of_an_import_ends_the_process_there(tmp_path: Path) -> None:
    """torch's C++ code called `abort` if an interrupt came in modules that it imports."""
    (tmp_path / "interrupted.py").write_text(
        "import os, signal, time\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(5)\n"
        "finally:\n"
        "    print('the interrupt was raised')\n"
    )
    program = (
        f"import sys; sys.path.append({str(tmp_path)!r})\n"
        "from llava_tools.cli import main\n"
        "main._run = lambda argv: __import__('interrupted')\n"
        "sys.exit(main.main())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_interrupt_where_python_ignores_errors_ends_the_process() -> None:
    """In a destructor it was printed, and the command went on."""
    program = (
        "import os, signal, sys\n"
        "from llava_tools.cli import main\n"
        "class Interrupting:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        for _ in range(1000): pass\n"
        "def command(argv):\n"
        "    Interrupting()\n"
        "    print('it went on')\n"
        "main._run = command\n"
        "sys.exit(main.main())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("end", ["return 130", "raise KeyboardInterrupt"])
def test_interrupt_waits_neither_for_threads_nor_for_the_exit_of_libraries(end: str) -> None:
    """Python's own exit took 20 s of a busy machine; a thread that goes on would keep it."""
    program = (
        "import atexit, sys, threading, time\n"
        "from llava_tools.__main__ import run\n"
        "from llava_tools.cli import main\n"
        f"def interrupted(): {end}\n"
        "main.main = interrupted\n"
        "atexit.register(print, 'unloaded')\n"
        "threading.Thread(target=time.sleep, args=[3600]).start()\n"
        "sys.exit(run())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_modules_of_commands_load_inside_main() -> None:
    """An interrupt while they load is handled; none of them loads pydantic or torch."""
    program = (
        "import sys; from llava_tools.cli import main\n"
        "print([n for n in sys.modules if n.startswith('llava_tools.cli.')])\n"
        "main.build_parser(); print({'torch', 'pydantic', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["['llava_tools.cli.main']", "set()"]


def test_verbose_logs_and_quiet_leaves_out_notes(
    backend: ScriptedBackend, image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ask", image, "What?", "--verbose"]) == 0
    assert "llava_tools.cli.ask: prompt of 602 tokens" in capsys.readouterr().err
    assert main(["ask", image, "What?", "-q"]) == 0
    assert capsys.readouterr() == ("It is red.\n", "")
    assert main(["ask", image, "What?"]) == 0
    note, *log = capsys.readouterr().err.splitlines()
    assert note.startswith("llava-tools: note: ")
    assert not log


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert "non-commercial" in out
    assert "Llama 2 Community License" in out
    assert main(["info", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["free_bytes"] > 0
    assert {fit["model"] for fit in report["fits"]} == {"tiny", "0.5b", "7b", "13b"}
    assert report["downloaded"][0] == "tiny"

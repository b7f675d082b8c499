"""OCR: the image of a page without a text layer goes in; lines of words with their places come out.

`RapidOcr` is the engine of the extra `ocr`. Any object with its `read` is an `OcrEngine`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from llava_tools.errors import require
from llava_tools.images import ImageRef
from llava_tools.retrieval.text import find_span
from llava_tools.tools.geometry import Box, clip_box

#: Pixels of a side below which an image has nothing to read, and the most that one side may have
#: of the other: RapidOCR shrinks both until the longer one has 2,000 pixels.
MIN_SIDE, MAX_RATIO = 8, 50


class OcrWord(NamedTuple):
    """A word, or a letter of a script without spaces, with its box in pixels of the image."""

    text: str
    box: Box


@dataclass(frozen=True)
class OcrLine:
    """A line of text, and its words in their order in it."""

    text: str
    words: tuple[OcrWord, ...]


class OcrEngine(Protocol):
    """Reads images of pages."""

    def read(self, image: ImageRef) -> Sequence[OcrLine]:
        """Return the lines of an image in reading order; none for an image without text."""
        ...


class RapidOcr:
    """RapidOCR: models of PaddleOCR on onnxruntime, on the CPU. Its package holds the models.

    It reads Latin letters, Chinese and Japanese. Threads share one instance; each call waits for
    the one before.

    Args:
        threads: Threads of a call; -1 for one on each core.

    Raises:
        MissingExtraError: rapidocr or onnxruntime is not installed.
    """

    def __init__(self, threads: int = -1) -> None:
        require("rapidocr", "onnxruntime", extra="ocr")
        self.threads = threads
        self._lock = threading.Lock()

    @cached_property
    def _reader(self) -> Any:
        import rapidocr

        # Named by path, so that nothing is downloaded if a file is missing.
        models = Path(rapidocr.__file__).parent / "models"
        return rapidocr.RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_cls": False,  # which finds lines that are upside down
                "Det.model_path": str(models / "PP-OCRv6_det_small.onnx"),
                "Rec.model_path": str(models / "PP-OCRv6_rec_small.onnx"),
                "EngineConfig.onnxruntime.intra_op_num_threads": self.threads,
            }
        )

    def read(self, image: ImageRef) -> list[OcrLine]:
        """See `OcrEngine.read`."""
        import numpy

        shorter, longer = sorted(image.size)
        if shorter < MIN_SIDE or longer > MAX_RATIO * shorter:
            return []
        with image.decoded() as pixels:
            blue_green_red = numpy.asarray(pixels)[:, :, ::-1]
        with self._lock:
            result = self._reader(
                numpy.ascontiguousarray(blue_green_red), use_cls=False, return_word_box=True
            )
        if result.txts is None:
            return []
        lines = zip(result.txts, result.word_results, strict=True)
        return [OcrLine(text, _words(words, image.size)) for text, words in lines]


def _words(words: Any, size: tuple[int, int]) -> tuple[OcrWord, ...]:
    """Return RapidOCR's words, whose boxes are quadrangles, with upright boxes."""
    boxes = []
    for text, _, corners in words:
        xs, ys = zip(*corners, strict=True)
        edges = (min(xs), min(ys), max(xs), max(ys))
        if (box := clip_box([round(float(edge)) for edge in edges], size)) is not None:
            boxes.append(OcrWord(text, box))
    return tuple(boxes)


def find_words(lines: Sequence[OcrLine], text: str) -> Box | None:
    """Return the box around the first place that has a text; None without one."""
    layer, spans = "", list[tuple[int, int, Box]]()
    for line in lines:
        position = 0
        for word in line.words:
            start = line.text.find(word.text, position)
            if start >= 0:
                position = start + len(word.text)
                spans.append((len(layer) + start, len(layer) + position, word.box))
        layer += line.text + "\n"
    span = find_span(layer, text)
    if span is None:
        return None
    boxes = [box for start, end, box in spans if start < span[1] and end > span[0]]
    if not boxes:
        return None
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return Box(min(lefts), min(tops), max(rights), max(bottoms))


def dump_lines(lines: Sequence[OcrLine]) -> str:
    """Return lines as the text that an index stores; empty for none."""
    values = [[line.text, [[word.text, *word.box] for word in line.words]] for line in lines]
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")) if lines else ""


def load_lines(stored: str) -> list[OcrLine]:
    """Return lines from what `dump_lines` made of them."""
    return [
        OcrLine(text, tuple(OcrWord(word, Box(*edges)) for word, *edges in words))
        for text, words in json.loads(stored or "[]")
    ]

"""Retrieval: PDFs and images as an index of pages on this machine, to search and to question.

    from llava_tools.retrieval import PageIndex, ask
    index = PageIndex("my-index")
    index.update(["manuals/"])
    hits = index.search("how to descale the machine")
    answer = ask(index, "How often is the machine to be descaled?", Llava("7b"))
    answer.text, answer.citations[0].page

Importing this loads neither a database nor a model; the first `update` or search does.
"""

from llava_tools.retrieval.answers import Citation, DocumentAnswer
from llava_tools.retrieval.contents import IndexedDocument, IndexStats
from llava_tools.retrieval.files import Skipped
from llava_tools.retrieval.filters import Condition, Conditions
from llava_tools.retrieval.index import PageIndex
from llava_tools.retrieval.loading import LoadedPage, load_pages, page_id
from llava_tools.retrieval.ocr import OcrEngine, OcrLine, OcrWord, RapidOcr
from llava_tools.retrieval.planning import IndexPlan
from llava_tools.retrieval.progress import IndexProgress, IndexReport, StepRates
from llava_tools.retrieval.qa import aask, ask, astream, stream
from llava_tools.retrieval.search import Hit

__all__ = [
    "Citation",
    "Condition",
    "Conditions",
    "DocumentAnswer",
    "Hit",
    "IndexPlan",
    "IndexProgress",
    "IndexReport",
    "IndexStats",
    "IndexedDocument",
    "LoadedPage",
    "OcrEngine",
    "OcrLine",
    "OcrWord",
    "PageIndex",
    "RapidOcr",
    "Skipped",
    "StepRates",
    "aask",
    "ask",
    "astream",
    "load_pages",
    "page_id",
    "stream",
]

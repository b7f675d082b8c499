"""Documents that can be asked: PDFs and images as pages that words find, on this machine.

    from llava_tools.retrieval import PageIndex, ask
    index = PageIndex("my-index")
    index.update(["manuals/"])
    hits = index.search("how to descale the machine")
    found = ask(index, "How often is the machine to be descaled?", Llava("7b"))
    found.text, found.citations[0].page

Importing this loads neither a database nor a model; the first `update` or search does.
"""

from llava_tools.retrieval.answers import Citation, DocumentAnswer
from llava_tools.retrieval.files import Skipped
from llava_tools.retrieval.index import PageIndex, Progress, Report
from llava_tools.retrieval.loading import Loaded, load
from llava_tools.retrieval.qa import aask, ask
from llava_tools.retrieval.search import Hit

__all__ = [
    "Citation",
    "DocumentAnswer",
    "Hit",
    "Loaded",
    "PageIndex",
    "Progress",
    "Report",
    "Skipped",
    "aask",
    "ask",
    "load",
]

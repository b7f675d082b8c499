"""Documents that can be asked: PDFs and pictures as pages that words find, on this machine.

    from llava_tools.retrieval import PageIndex
    index = PageIndex("my-index")
    index.update(["manuals/"])
    hits = index.search("how to descale the machine")

Importing this loads neither a database nor a model; the first `update` or search does.
"""

from llava_tools.retrieval.files import Skipped
from llava_tools.retrieval.index import PageIndex, Progress, Report
from llava_tools.retrieval.search import Hit

__all__ = ["Hit", "PageIndex", "Progress", "Report", "Skipped"]

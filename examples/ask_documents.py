"""Questions over real PDFs: pages are found, looked at, and cited.

python examples/ask_documents.py                 # manuals with figures, out of Debian packages
python examples/ask_documents.py --folder manuals --model 7b --ask "How is a node pinned?"

The embedded model finds the page by its text, but of pages it reads only what it draws itself.
"""

import argparse
import tempfile
from pathlib import Path

from debian_manuals import get_manuals  # type: ignore[import-not-found]

from llava_tools import Llava
from llava_tools.retrieval import PageIndex, ask

QUESTIONS = (
    "How is an arrowhead made twice as long and twice as wide?",
    "Which value of g did the rod pendulum give?",
    "How many volts does a lemon give with zinc and copper?",
)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--folder", type=Path, help="PDFs and pictures of your own")
    parser.add_argument(
        "--index", type=Path, help="where the index is kept; else for this run only"
    )
    parser.add_argument("--ask", action="append", help="may be given more than once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = options.folder or get_manuals(Path(work) / "manuals")
        index = PageIndex(options.index or Path(work) / "index")
        done = index.update([folder], lambda p: print(f"\r{p.done}/{p.total} pages", end=""))
        print(f"\r{done.documents} documents, {done.added} pages added in {done.seconds:.0f} s")
        model = Llava(options.model)
        for question in options.ask or QUESTIONS:
            found = ask(index, question, model, with_text=True)
            print(f"\n{question}  ->  {found.text}")
            for citation in found.citations:
                print(f"  {Path(citation.document).name}, page {citation.page}: {citation.snippet}")

"""Questions over real PDFs: finds pages, answers from their images, and cites them.

python examples/ask_documents.py                 # manuals with figures, from Debian packages
python examples/ask_documents.py --folder manuals --model 7b --ask "How is a node pinned?"

The embedded model finds pages by their text, but reads only writing that its own recipe draws.
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
    parser.add_argument("--folder", type=Path, help="your own PDFs and images")
    parser.add_argument(
        "--index", type=Path, help="folder of the index; a temporary one by default"
    )
    parser.add_argument("--ask", action="append", help="a question; repeatable")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        folder = options.folder or get_manuals(Path(work) / "manuals")
        index = PageIndex(options.index or Path(work) / "index")
        report = index.update([folder], lambda p: print(f"\r{p.done}/{p.total} pages", end=""))
        print(
            f"\r{report.documents} documents, {report.added} pages added in {report.seconds:.0f} s"
        )
        model = Llava(options.model)
        for question in options.ask or QUESTIONS:
            answer = ask(index, question, model)
            print(f"\n{question}  ->  {answer.text}")
            for citation in answer.citations:
                print(f"  {Path(citation.document).name}, page {citation.page}: {citation.snippet}")

"""A LangGraph over a folder of PDFs and images: plan, retrieve, look, answer with the page.

python examples/langgraph_documents.py --folder manuals --model 7b --ask "How is a node pinned?"
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any, Literal, cast

from langchain_core.messages import HumanMessage
from langgraph.graph import START, StateGraph
from pydantic import BaseModel

from langchain_llava import ChatLlava, LlavaPageRetriever
from llava_tools.label_scoring import short_answer_question
from llava_tools.retrieval import PageIndex


class Plan(BaseModel):
    """How to search: by what pages show, by what they say, or by both."""

    mode: Literal["image", "text", "hybrid"] = "hybrid"


def build(model: ChatLlava, index: PageIndex) -> Any:
    """Return the graph; each node adds its results to the state."""

    def plan(state: dict[str, Any]) -> dict[str, Any]:
        return state | dict(model.with_structured_output(Plan).invoke(state["question"]))

    def retrieve(state: dict[str, Any]) -> dict[str, Any]:
        retriever = LlavaPageRetriever(index=index, k=3, mode=state["mode"])
        return state | {"pages": retriever.invoke(state["question"])}

    def look(state: dict[str, Any]) -> dict[str, Any]:
        images = [{"type": "image", "file_id": p.metadata["handle"]} for p in state["pages"]]
        text = short_answer_question(state["question"])
        return state | {"answers": model.batch([[HumanMessage([i, text])] for i in images])}

    def answer(state: dict[str, Any]) -> dict[str, Any]:
        answers = [message.text for message in state["answers"]]  # better pages count more
        best = max(answers, key=lambda a: sum(1 / n for n, b in enumerate(answers, 1) if a == b))
        page = state["pages"][answers.index(best)].metadata
        return {"answer": best, "page": page["page"], "document": Path(page["document"]).name}

    graph = cast(Any, StateGraph)(dict).add_sequence([plan, retrieve, look, answer])
    return graph.add_edge(START, "plan").compile()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--folder", default=Path(__file__).parent / "images")
    parser.add_argument("--ask", default="What colour is the star?")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        index = PageIndex(work)
        index.update([options.folder])
        print(build(ChatLlava(model=options.model), index).invoke({"question": options.ask}))

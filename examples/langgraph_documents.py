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
from llava_tools.label_scoring import short
from llava_tools.retrieval import PageIndex


class Plan(BaseModel):
    """How to search: by what pages show, by what they say, or by both."""

    mode: Literal["picture", "text", "hybrid"] = "hybrid"


def build(model: ChatLlava, index: PageIndex) -> Any:
    """Return the graph; each node adds what it found to the state."""

    def plan(state: dict[str, Any]) -> dict[str, Any]:
        return state | dict(model.with_structured_output(Plan).invoke(state["question"]))

    def retrieve(state: dict[str, Any]) -> dict[str, Any]:
        retriever = LlavaPageRetriever(index=index, k=3, mode=state["mode"])
        return state | {"pages": retriever.invoke(state["question"])}

    def look(state: dict[str, Any]) -> dict[str, Any]:
        images = [{"type": "image", "file_id": p.metadata["handle"]} for p in state["pages"]]
        asked: Any = [[HumanMessage([p, short(state["question"])])] for p in images]
        return state | {"seen": [reply.text for reply in model.batch(asked)]}

    def answer(state: dict[str, Any]) -> dict[str, Any]:
        seen: list[str] = state["seen"]  # nearer pages' answers count more
        votes = [sum((one == said) / rank for rank, one in enumerate(seen, 1)) for said in seen]
        page = state["pages"][best := votes.index(max(votes))].metadata
        return {"answer": seen[best], "page": page["page"], "document": Path(page["document"]).name}

    graph = cast(Any, StateGraph)(dict).add_sequence([plan, retrieve, look, answer])
    return graph.add_edge(START, "plan").compile()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--folder", default=Path(__file__).parent / "pictures")
    parser.add_argument("--ask", default="What colour is the star?")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        index = PageIndex(work)
        index.update([options.folder])
        print(build(ChatLlava(model=options.model), index).invoke({"question": options.ask}))

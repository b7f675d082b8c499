"""Questions over a folder of images: an index finds the image, LLaVA looks at it and answers.

python examples/llama_index_pages.py
python examples/llama_index_pages.py --model 7b --folder pages --ask "What was the turnover?"
"""

import argparse
from pathlib import Path
from typing import Any

from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.prompts import RichPromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import ImageNode

from llama_index.embeddings.llava import LlavaEmbedding
from llama_index.llms.llava import Llava

HERE = Path(__file__).parent
# The prompt format that LLaVA was trained with: the image, then the question.
PROMPT = RichPromptTemplate(
    """{% chat role="user" %}
{% for message in context_messages %}{% for block in message.blocks %}
{% if block.block_type == 'image' %}{{ block.inline_url() | image }}{% endif %}
{% endfor %}{% endfor %}{{ query_str }}{% endchat %}"""
)


def make_engine(model: str, folder: Path) -> RetrieverQueryEngine:
    """Return an engine that finds one image for a question and answers from it."""
    images = sorted(path for path in folder.iterdir() if path.suffix in (".png", ".jpg"))
    nodes = [
        ImageNode(
            image_path=str(path),
            metadata={"file_name": path.name},
            excluded_llm_metadata_keys=["file_name"],  # as text, it would displace the image
        )
        for path in images
    ]
    embedding = LlavaEmbedding(model=model)
    index = MultiModalVectorStoreIndex(nodes, embed_model=embedding, image_embed_model=embedding)
    return RetrieverQueryEngine.from_args(
        index.as_retriever(image_similarity_top_k=1),
        llm=Llava(model=model),
        multimodal=True,
        chat_content_qa_template=PROMPT,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--folder", type=Path, default=HERE / "images")
    parser.add_argument("--ask", default="What colour is the star?")
    options = vars(parser.parse_args())
    question = options.pop("ask")
    answer: Any = make_engine(**options).query(question)
    (source,) = answer.source_nodes
    print(f"{question}  ->  {answer}  ({source.node.metadata['file_name']})")

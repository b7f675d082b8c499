r"""Two steps over a folder of images: find the image that matches, then ask about it.

    python examples/find_and_ask.py
    python examples/find_and_ask.py --model llava-hf/llava-1.5-7b-hf --folder photos \\
        --find "Is there a dog in the image?" --ask "What is the dog doing?"
"""

import argparse
import base64
import time
from pathlib import Path
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough

from langchain_llava import ChatLlava

HERE = Path(__file__).parent


def question(image: Path, text: str) -> list[HumanMessage]:
    """Return a message with an image, in LangChain's standard content blocks."""
    data = base64.b64encode(image.read_bytes()).decode()
    block = {"type": "image", "base64": data, "mime_type": "image/png"}
    return [HumanMessage([block, {"type": "text", "text": text}])]


def build_chain(model: ChatLlava) -> Runnable[dict[str, Any], dict[str, Any]]:
    """Return the chain: one batch asks about all images, one call about the match."""

    def find(state: dict[str, Any]) -> Path:
        text = f"{state['find']}\nAnswer the question using a single word or phrase."
        images = sorted(Path(state["folder"]).glob("*.png"))
        answers = model.batch([question(image, text) for image in images])
        for image, answer in zip(images, answers, strict=True):
            if answer.text.lower().startswith("yes"):
                return image
        raise SystemExit(f"None of {len(images)} images: {state['find']}")

    look = RunnableLambda[dict[str, Any], Any](lambda s: question(s["image"], s["ask"])) | model
    return RunnablePassthrough.assign(image=find) | RunnablePassthrough.assign(answer=look)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--folder", default=HERE / "images")
    parser.add_argument("--find", default="Is there a star in the picture?")
    parser.add_argument("--ask", default="What colour is the star?")
    options = vars(parser.parse_args())
    chain = build_chain(ChatLlava(model=options.pop("model")))
    begin = time.perf_counter()
    result = chain.invoke(options)
    message = result["answer"]
    print(f"{result['find']}  ->  {result['image'].name}")
    print(f"{result['ask']}  ->  {message.text}")
    usage, model = message.usage_metadata, message.response_metadata["model_name"]
    print(f"{time.perf_counter() - begin:.1f} s in all, {usage['input_tokens']} tokens in, {model}")

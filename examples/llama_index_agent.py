r"""Agents that open an image through a tool and look at it: a FunctionAgent, and an AgentWorkflow.

    python examples/llama_index_agent.py
    python examples/llama_index_agent.py --model 7b --image street.jpg \\
        --ask "What is parked in the street?"

The conversation names the image by its handle (img_...). The tool returns the image itself, and
the model sees it in the tool's result.
"""

import argparse
import asyncio
from pathlib import Path
from typing import Annotated, Any

from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.llms import ImageBlock, TextBlock
from pydantic import Field

from llama_index.llms.llava import Llava
from llava_tools import open_image
from llava_tools.chat import image_handles
from llava_tools.images.store import ImageStore

# A string of this pattern can only be the handle of an image that the conversation names.
Handle = Annotated[str, Field(json_schema_extra={"pattern": image_handles.PATTERN})]
NIGHT = Path(__file__).parent / "images" / "night.png"


def make_agent(model: Llava, store: ImageStore, question: str) -> FunctionAgent:
    """Return an agent that can open images by their handles, and opens one first."""

    def open_picture(image: Handle) -> list[ImageBlock | TextBlock]:
        """Open an image, to look at it."""
        return [ImageBlock(image=store.get(image).data), TextBlock(text=question)]

    return FunctionAgent(
        name="looker", llm=model, tools=[open_picture], initial_tool_choice="open_picture"
    )


async def main(model: str, image: Path, ask: str) -> None:
    """Run the agent alone, and as part of a workflow."""
    store = ImageStore()
    handle = store.add(open_image(image))
    agent = make_agent(Llava(model=model), store, ask)
    for runner in (agent, AgentWorkflow(agents=[agent], root_agent=agent.name)):
        result: Any = await runner.run(user_msg=f"{ask} Look at {handle}.")
        (call,) = result.tool_calls
        answer = f"{call.tool_name}({call.tool_kwargs['image']})  ->  {result.response.content}"
        print(f"{type(runner).__name__}: {answer}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--image", type=Path, default=NIGHT)
    parser.add_argument("--ask", default="What colour is the star?")
    asyncio.run(main(**vars(parser.parse_args())))

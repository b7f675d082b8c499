r"""Agents that open a picture through a tool and look at it: a FunctionAgent, and an AgentWorkflow.

    python examples/llama_index_agent.py
    python examples/llama_index_agent.py --model 7b --picture street.jpg \\
        --ask "What is parked in the street?"

The conversation names the picture by its handle (img_...). The tool gives the picture itself back,
and the model sees it in the tool's result.
"""

import argparse
import asyncio
from pathlib import Path

from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.llms import ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field, create_model

from llama_index.llms.llava import Llava
from llava_tools import open_image
from llava_tools.gallery import Gallery

NIGHT = Path(__file__).parent / "pictures" / "night.png"


def make_agent(model: Llava, gallery: Gallery, handle: str, ask: str) -> FunctionAgent:
    """An agent that may open a picture of the gallery, and does so first."""

    def open_picture(picture: str) -> list[ImageBlock | TextBlock]:
        """Open a picture, to look at it."""
        return [ImageBlock(image=gallery.get(picture).data), TextBlock(text=ask)]

    known = Field(json_schema_extra={"enum": [handle]})  # the grammar allows no other handle
    arguments: type[BaseModel] = create_model("open_picture", picture=(str, known))
    tool = FunctionTool.from_defaults(open_picture, fn_schema=arguments)
    return FunctionAgent(name="looker", llm=model, tools=[tool], initial_tool_choice="open_picture")


async def main(model: str, picture: Path, ask: str) -> None:
    """Ask the agent alone, and as part of a workflow."""
    gallery = Gallery()
    handle = gallery.add(open_image(picture))
    agent = make_agent(Llava(model=model), gallery, handle, ask)
    for way in (agent, AgentWorkflow(agents=[agent], root_agent=agent.name)):
        result = await way.run(user_msg=f"{ask} Look at {handle}.")
        (call,) = result.tool_calls
        told = f"{call.tool_name}({call.tool_kwargs['picture']})  ->  {result.response.content}"
        print(f"{type(way).__name__}: {told}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--picture", type=Path, default=NIGHT)
    parser.add_argument("--ask", default="What colour is the star?")
    asyncio.run(main(**vars(parser.parse_args())))

"""MCP: visual tools and documents for hosts such as Claude Desktop and editors. Extra `mcp`.

The way of a call:

1. The SDK reads it from stdio or HTTP and finds the handler in `server`. Over HTTP, `http` has
   checked its address and its API key.
2. `sessions` finds the images of the client, which no other client sees.
3. `tools` checks the arguments; the tools are those of `llava_tools.tools`, `add_image`, and with
   an index `ask_documents` (`documents`).
4. The tool's requests go to the model through `progress`, which reports to the client. If the
   client cancels the call, the generation stops.
5. `content` turns the result into data, text, images and links, below the size that hosts accept.

`resources` are the images of a session; `hosts` writes the configuration of a host.
"""

from llava_tools.server.mcp.content import ContentOptions
from llava_tools.server.mcp.server import McpServer

__all__ = ["ContentOptions", "McpServer"]

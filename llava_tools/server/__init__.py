"""The server: OpenAI's API, Ollama's, and a page, on one port and over one engine. Extra `serve`.

The way of a request:

1. `app` checks the address that the client used and its API key, which makes it a `User` with an
   image store of its own.
2. A protocol's route (`openai`, `ollama`, `page`) reads the body, bounded, into a pydantic model.
3. It translates the body into a `Request` and opens the images in a thread, as untrusted input.
4. `generation` counts the request, sends it to the backend, and yields the chunks of the answer. It
   stops the generation when the client leaves or the time is up.
5. The route writes the chunks as its protocol does, streamed or collected.
6. `errors` gives each error its HTTP status and the form of the path's protocol.
7. `recording` measures all of it, without contents, for `metrics`, `logs` and `tracing`.

The protocols translate and decide nothing; all of them run on any `Backend`. `mcp` is a server of
its own for the Model Context Protocol.

Importing this loads no web framework; `llava_tools.server.app.create_app` does.
"""

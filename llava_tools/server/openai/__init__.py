"""OpenAI's API: chat completions, responses, embeddings, models, and `/tokenize` as in vLLM.

`messages`, `constraints` and `chat_body` translate bodies to `Request`s; `completion` writes
answers and chunks; the modules with `ROUTES` connect both with `generation`.
"""

from llava_tools.server.openai import chat, embeddings, models, responses, score, tokenize

#: Routes of this API.
ROUTES = [
    *chat.ROUTES,
    *embeddings.ROUTES,
    *models.ROUTES,
    *responses.ROUTES,
    *score.ROUTES,
    *tokenize.ROUTES,
]

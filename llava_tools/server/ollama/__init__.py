"""Ollama's API: chat, generate, embed, and what clients ask of a library of models.

`messages`, `sampling`, `generation_body` and the bodies of the routes translate to `Request`s;
`answer_writer` writes answers and chunks; `responding` connects both with `generation`. `names` has
the names of the model. What cannot be done here is an error that says so.
"""

from llava_tools.server.ollama import chat, embed, generate, library, models, root

#: Routes of this API.
ROUTES = [
    *root.ROUTES,
    *chat.ROUTES,
    *generate.ROUTES,
    *embed.ROUTES,
    *models.ROUTES,
    *library.ROUTES,
]

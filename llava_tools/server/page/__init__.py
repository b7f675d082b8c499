"""The page at `/`, and the small API behind it, `/llava/...`.

Chat goes through OpenAI's API. `/llava/...` has what that lacks: images by handle, visual tools
with structured results, and documents with cited pages. `static/` is served as it is, without a
build step, and needs no other host.
"""

from llava_tools.server.page import api, documents, files

#: Routes of the page and of its API.
ROUTES = [*files.ROUTES, *api.ROUTES, *documents.ROUTES]

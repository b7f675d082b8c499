"""The page at `/`, and the small API behind it, `/llava/...`.

Chat goes through OpenAI's API. `/llava/...` has what that lacks: images by handle, visual tools
with structured results, the evidence of answers, and documents with cited pages. `static/` is
served as it is, without a build step, and needs no other host.
"""

from llava_tools.server.page import api, documents, evidence, files

#: Routes of the page and of its API.
ROUTES = [*files.ROUTES, *api.ROUTES, *evidence.ROUTES, *documents.ROUTES]

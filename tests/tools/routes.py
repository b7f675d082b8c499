"""Eight options and 200 requests for tests of selectors."""

from __future__ import annotations

import random

#: Short enough for the context of the random-weight checkpoint.
OPTIONS = {
    "weather": "Rain.",
    "music": "Songs.",
    "calendar": "Meetings.",
    "maps": "Routes.",
    "mail": "Letters.",
    "recipes": "Food.",
    "shop": "Prices.",
    "images": "Photos.",
}


def requests(number: int = 200) -> list[str]:
    """Requests of random words, most of which fit no option."""
    rng = random.Random(0)
    words = [*OPTIONS, "what", "is", "the", "please", "not", "7", "</s>", "<tool_call>", "Tür", "?"]
    return [" ".join(rng.choices(words, k=rng.randint(1, 8))) for _ in range(number)]

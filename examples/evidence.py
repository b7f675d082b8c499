"""Where does an answer come from? Draw the part of the image that it depends on, and zoom in there.

python examples/evidence.py
python examples/evidence.py --model 7b --image photo.jpg --ask "What is on the table?"
"""

import argparse
from pathlib import Path

from llava_tools import Llava, tools
from llava_tools.images.access import ImageResolver

HERE = Path(__file__).parent


def main() -> None:
    """Ask, draw, and run the same as tools of an agent."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--image", default=HERE / "images" / "night.png")
    parser.add_argument("--ask", default="What colour is the star?")
    parser.add_argument("--out", default="evidence.png")
    options = parser.parse_args()
    model = Llava(options.model)

    evidence = model.evidence(options.ask, options.image)
    print(evidence)
    evidence.draw().save(options.out)

    resolver = ImageResolver()  # an agent names images by their handles
    image = resolver.add(options.image)
    question = {"image": image, "question": options.ask}
    print("show_evidence:", tools.call(model, "show_evidence", question, resolver))
    if evidence.region is not None:
        zoomed = tools.call(model, "zoom", {**question, "box": evidence.region}, resolver)
        print("zoom:", zoomed)


if __name__ == "__main__":
    main()

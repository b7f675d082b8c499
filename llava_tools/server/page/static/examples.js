// Examples to begin with: drawn images, which the embedded model can see, and a question to each.

import { create, icon } from "./dom.js";

const EXAMPLES = [
  { images: ["night.png"], mode: "ask", text: "What colour is the star?", title: "What colour is the star?" },
  { images: ["meadow.png"], mode: "locate", text: "the triangle", title: "Where is the triangle?" },
  { images: ["night.png", "sunset.png"], mode: "compare", text: "What colour is the circle?", title: "Is the circle the same in both?" },
];

/** Return list items that ask the examples. */
export function examples(info, composer) {
  const known = EXAMPLES.filter(({ mode }) => mode === "ask" || info.tools.includes(mode));
  return known.map((example) => create("li", {}, card(example, composer)));
}

function card({ images, mode, text, title }, composer) {
  const small = images.map((name) => create("img", { src: `/static/examples/${name}`, alt: "" }));
  return create(
    "button",
    { type: "button", onclick: () => ask(composer, images, mode, text) },
    create("span", { class: "images" }, ...small),
    create("span", { class: "title" }, title, icon("send")),
  );
}

async function ask(composer, names, mode, text) {
  const files = await Promise.all(
    names.map(async (name) => {
      const response = await fetch(`/static/examples/${name}`);
      return new File([await response.blob()], name, { type: "image/png" });
    }),
  );
  composer.clear();
  composer.add(files);
  composer.choose(mode);
  composer.question.value = text;
  composer.submit();
}

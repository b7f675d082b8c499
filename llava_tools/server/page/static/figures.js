// Images in the conversation: thumbnails, images with a box, and a large view of both.

import { byId, create, createSvg } from "./dom.js";

/**
 * Return an image with a box on it.
 * @param {{url: string, width: number, height: number, alt: string, load?: () => Promise<string>}} image
 *   `load` returns the address of a larger one for the large view.
 * @param {number[]|null} box Corners x1, y1, x2, y2 in pixels of the image.
 * @param {(string|Node)[]} caption
 */
export function figure(image, box, caption) {
  const open = create(
    "button",
    { type: "button", class: "frame", "aria-label": `Enlarge: ${image.alt}`, onclick: () => enlarge(image, box) },
    ...layers(image, box),
  );
  return create("figure", {}, open, create("figcaption", {}, ...caption));
}

/** Return an image as a small button that enlarges it. */
export function thumbnail(image) {
  const small = create("img", { src: image.url, alt: image.name });
  const open = () => enlarge({ ...image, alt: image.name }, null);
  return create(
    "button",
    { type: "button", class: "thumbnail", "aria-label": `Enlarge ${image.name}`, onclick: open },
    small,
  );
}

function layers({ url, width, height, alt }, box) {
  const image = create("img", { src: url, alt, width, height });
  return box ? [image, overlay(width, height, box)] : [image];
}

function overlay(width, height, [x1, y1, x2, y2]) {
  const edges = { x: x1, y: y1, width: x2 - x1, height: y2 - y1 };
  return createSvg(
    "svg",
    { class: "overlay", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    createSvg("rect", { class: "halo", ...edges }),
    createSvg("rect", { class: "box", ...edges }),
  );
}

async function enlarge(image, box) {
  const url = image.load ? await image.load() : image.url;
  byId("viewer-content").replaceChildren(create("div", { class: "frame" }, ...layers({ ...image, url }, box)));
  byId("viewer").showModal();
}

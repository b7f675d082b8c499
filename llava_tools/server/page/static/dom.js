// Small helpers for the document. Texts are set as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Return the element with an id. */
export const byId = (id) => document.getElementById(id);

/**
 * Create an element.
 * @param {string} tag
 * @param {object} attributes `class`, `on…` listeners, and attributes; null and false leave one out.
 * @param {...(Node|string|null)} children Strings become text.
 */
export function create(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** `create` for SVG. */
export function createSvg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Return an icon of icons.svg. */
export function icon(name) {
  return createSvg("svg", { "aria-hidden": "true" }, createSvg("use", { href: `/static/icons.svg#${name}` }));
}

/** Return a button with an icon and a text. */
export function button(name, text, onclick, className = "quiet") {
  return create("button", { type: "button", class: className, onclick }, icon(name), create("span", {}, text));
}

/** Show a text in an element, or hide the element if there is none. */
export function show(element, text) {
  element.textContent = text ?? "";
  element.hidden = !text;
}

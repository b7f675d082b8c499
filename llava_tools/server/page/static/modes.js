// What the page can do with a text and images: the choices above the question.

/**
 * @typedef {object} Mode
 * @property {string} name For visual tools, the tool's name.
 * @property {string} label
 * @property {string} placeholder Of the question.
 * @property {boolean} text Whether it needs a text.
 * @property {number} images How many images it needs.
 */

const ASK = { name: "ask", label: "Ask", placeholder: "Ask about the image", text: true, images: 0 };
const TOOLS = [
  { name: "locate", label: "Where is", placeholder: "Like: the star", text: true, images: 1 },
  { name: "count", label: "How many", placeholder: "Like: red circles", text: true, images: 1 },
  { name: "describe", label: "Describe", placeholder: "Press Enter", text: false, images: 1 },
  { name: "read_text", label: "Read text", placeholder: "Press Enter", text: false, images: 1 },
  { name: "compare", label: "Compare", placeholder: "Ask about each image", text: true, images: 2 },
];
const DOCUMENTS = [
  { name: "documents", label: "Documents", placeholder: "Ask the documents", text: true, images: 0 },
  { name: "search", label: "Find pages", placeholder: "Words to look for", text: true, images: 0 },
];

/** Return the modes of a server. @returns {Mode[]} */
export function listModes(info) {
  const tools = TOOLS.filter((mode) => info.tools.includes(mode.name));
  return [ASK, ...tools, ...(info.index ? DOCUMENTS : [])];
}

/** Return whether a mode is about the documents of the server, not about the user's images. */
export const isAboutDocuments = (mode) => DOCUMENTS.includes(mode);

const WHERE = /^where(?:['’]s| is| are) (.+?)(?: (?:in|on) (?:the|this) (?:image|picture|photo))?\s*\?*$/i;
const THING = /^(?:the|an?|my|our|your|his|her|its|their|all)(?: [\p{L}\d'’-]+){1,6}$/iu;
/** "Where is the photo taken?" is about more than the image shows. */
const PLACE = /\b(?:taken|made|shot|from|located|going|photo|picture|image|scene)\b/i;

/** Return what a question like "Where is the star?" looks for, or null. */
export function thingToLocate(text) {
  const thing = WHERE.exec(text.trim().replace(/\s+/g, " "))?.[1];
  return thing && THING.test(thing) && !PLACE.test(thing) ? thing : null;
}

/** Return what a turn still lacks, or an empty text. */
export function missing(mode, text, images) {
  if (mode.text && !text) return "Type what to ask first.";
  if (images.length >= mode.images) return "";
  return mode.images > 1 ? "Add two images or more first." : "Add an image first.";
}

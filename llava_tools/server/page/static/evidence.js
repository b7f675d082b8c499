// Where in the image an answer comes from: measured by the server, shown below the answer.

import { fetchJson } from "./api.js";
import { figure } from "./figures.js";
import { chatImages, isChat, messages } from "./runs.js";

/** Return whether a turn's answer may be explained: it was given in a chat about an image. */
export const hasEvidence = (turn, history) =>
  isChat(turn) && turn.answer.trim() !== "" && chatImages(turn, history).length > 0;

/**
 * Show which part of its images a turn's answer depends on: of its own, or of the latest before it.
 * @param {object} turn A turn that is answered.
 * @param {object[]} history The turns before it.
 * @param {object} view Shows the drawings.
 * @param {AbortSignal} signal Stops it.
 * @returns {Promise<string>} What was found, in words.
 */
export async function showEvidence(turn, history, view, signal) {
  const images = chatImages(turn, history);
  const first = images.length - (turn.images.length || 1);
  const lines = [];
  const figures = [];
  for (const [index, image] of images.entries()) {
    if (index < first) continue;
    const json = { messages: messages(turn, history), answer: turn.answer, image_index: index };
    const found = await fetchJson("/llava/evidence", { json, signal });
    const [width, height] = found.size;
    const line = describe(found.box, width, height);
    const alt = `${image.name}, dimmed, with what matters to the answer lit up`;
    figures.push(figure({ url: found.drawing, width, height, alt }, null, [line]));
    lines.push(line);
  }
  figures.forEach((drawing) => view.addNode(drawing));
  return lines.join("\n");
}

function describe(box, width, height) {
  if (!box) return "The answer depends on no single part of the image: many show the same, or it is a guess.";
  const [left, top, right, bottom] = box;
  const place = `${left}, ${top} to ${right}, ${bottom} of ${width} × ${height} pixels`;
  return `The answer depends most on the framed part, from ${place}. Brighter parts matter more.`;
}

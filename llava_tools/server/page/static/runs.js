// Runs a turn in its mode, and shows what comes back.

import { fetchEvents, fetchImage, fetchJson } from "./api.js";
import { create } from "./dom.js";
import { figure } from "./figures.js";
import { settings } from "./settings.js";

/** A box with less is not drawn: the model names one for everything. */
const MIN_CERTAINTY = 0.5;

/**
 * Run a turn.
 * @param {object} turn `mode`, `text`, `images` to show the model.
 * @param {object[]} history The turns before it.
 * @param {object} view Shows the answer: `addText`, `setText`, `addNode`, `note`.
 * @param {AbortSignal} signal Stops it.
 */
export function runTurn(turn, history, view, signal) {
  return RUNS[turn.mode.name](turn, history, view, signal);
}

/** Return whether a turn is a part of the conversation that the model reads. */
export const isChat = (turn) => turn.isChat === true;

const RUNS = {
  async ask(turn, history, view, signal) {
    turn.isChat = true;
    const body = {
      messages: messages(turn, history),
      stream: true,
      stream_options: { include_usage: true },
      temperature: settings.temperature,
      max_tokens: settings.maxTokens,
    };
    for await (const event of fetchEvents("/v1/chat/completions", body, signal)) {
      const choice = event.choices[0];
      if (choice?.delta?.content) view.addText(choice.delta.content);
      if (choice?.finish_reason === "length") {
        view.note(`Cut off after ${settings.maxTokens} tokens. Settings has the limit.`);
      }
    }
  },

  async locate(turn, history, view, signal) {
    const lines = [];
    for (const image of turn.images) {
      const result = await runTool("locate", { image: image.handle, thing: turn.text }, signal);
      const isThere = result.box !== null && result.certainty >= MIN_CERTAINTY;
      const line = isThere
        ? `From ${result.box[0]}, ${result.box[1]} to ${result.box[2]}, ${result.box[3]} of ${result.width} × ${result.height} pixels`
        : `This image does not seem to show “${turn.text}”`;
      lines.push(`${line} (certainty ${percent(result.certainty)}).`);
      view.setText(lines.join("\n"));
      const alt = isThere ? `${image.name}, with a box around ${turn.text}` : image.name;
      view.addNode(figure({ ...image, ...sizeOf(result), alt }, isThere ? result.box : null, [image.name]));
    }
  },

  async count(turn, history, view, signal) {
    await forEachImage(turn, view, async (image) => {
      const result = await runTool("count", { image: image.handle, things: turn.text }, signal);
      return String(result.count);
    });
  },

  async describe(turn, history, view, signal) {
    await forEachImage(turn, view, async (image) => (await runTool("describe", { image: image.handle }, signal)).text);
  },

  async read_text(turn, history, view, signal) {
    await forEachImage(turn, view, async (image) => (await runTool("read_text", { image: image.handle }, signal)).text);
  },

  async compare(turn, history, view, signal) {
    const images = turn.images.map((image) => image.handle);
    const result = await runTool("compare", { images, question: turn.text }, signal);
    view.setText(result.same ? "The answers are the same." : "The answers differ.");
    const row = create("div", { class: "row" });
    turn.images.forEach((image, index) => {
      const caption = create("strong", {}, result.answers[index] ?? "");
      row.append(figure({ ...image, alt: image.name }, null, [caption]));
    });
    view.addNode(row);
  },

  async documents(turn, history, view, signal) {
    const body = { question: turn.text, sentences: settings.sentences };
    for await (const event of fetchEvents("/llava/documents/ask", body, signal)) {
      if (event.type === "delta") view.addText(event.text);
      else await showAnswer(event.answer, view, signal);
    }
  },

  async search(turn, history, view, signal) {
    const { pages } = await fetchJson("/llava/documents/search", { json: { query: turn.text }, signal });
    if (!pages.length) {
      view.setText("No page is near that. Try other words.");
      return;
    }
    view.setText(pages.length === 1 ? "One page was found." : `${pages.length} pages were found.`);
    for (const page of pages) {
      const url = await fetchImage(page.thumbnail_url, signal);
      const load = () => fetchImage(page.image_url);
      view.addNode(pageFigure(page, { url, load }, null, []));
    }
  },
};

function runTool(name, args, signal) {
  return fetchJson(`/llava/tools/${name}`, { json: { arguments: args }, signal });
}

async function forEachImage(turn, view, run) {
  const lines = [];
  for (const image of turn.images) {
    const text = await run(image);
    lines.push(turn.images.length > 1 ? `${image.name}: ${text}` : text);
    view.setText(lines.join("\n"));
  }
}

async function showAnswer(answer, view, signal) {
  view.setText(answer.answer);
  const cited = answer.claims.length ? answer.claims : answer.citations;
  for (const citation of cited) {
    const url = await fetchImage(citation.image_url, signal);
    const claim = answer.claims.length ? [create("strong", {}, citation.answer)] : [];
    const certainty = create("small", {}, `Certainty ${percent(citation.certainty)}`);
    view.addNode(pageFigure(citation, { url }, citation.box, [...claim, certainty]));
  }
  for (const { name, reason } of answer.skipped) view.note(`${name} was left out. ${reason}`);
}

function pageFigure(page, image, box, more) {
  const [width, height] = page.size;
  const place = `${page.name}, page ${page.page}`;
  const snippet = page.snippet ? create("q", {}, page.snippet) : null;
  const caption = [create("cite", { title: page.document }, place), snippet, ...more];
  const element = figure({ ...image, width, height, alt: place }, box, caption.filter(Boolean));
  element.classList.add("page");
  return element;
}

/** Return the messages of a chat: earlier questions with their answers, then this one. */
export function messages(turn, history) {
  const system = settings.system ? [{ role: "system", content: settings.system }] : [];
  const earlier = chatTurns(history);
  const pairs = earlier.flatMap((item) => [question(item), { role: "assistant", content: item.answer }]);
  return [...system, ...pairs, question(turn)];
}

/** Return the images of a chat's messages, in order. */
export function chatImages(turn, history) {
  return [...chatTurns(history), turn].flatMap((item) => item.images);
}

const chatTurns = (history) => history.filter((item) => isChat(item) && item.answer);

function question({ text, images }) {
  const blocks = images.map((image) => ({ type: "image_url", image_url: { url: image.handle } }));
  return { role: "user", content: [...blocks, { type: "text", text }] };
}

const sizeOf = ({ width, height }) => ({ width, height });
const percent = (share) => `${Math.round(100 * share)} %`;

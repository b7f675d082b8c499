// The conversation: its turns, each with a view, and the one that runs.

import { ApiError } from "./api.js";
import { byId, button, create, show } from "./dom.js";
import { hasEvidence, showEvidence } from "./evidence.js";
import { thumbnail } from "./figures.js";
import { isChat, runTurn } from "./runs.js";

export class Conversation {
  #turns = [];
  #running = null;
  #measuresEvidence = false;

  /**
   * @param {object} listeners
   * @param {(isRunning: boolean) => void} listeners.onState
   * @param {(error: ApiError) => void} listeners.onError
   */
  constructor({ onState, onError }) {
    this.list = byId("turns");
    this.onState = onState;
    this.onError = onError;
  }

  get isRunning() {
    return this.#running !== null;
  }

  /** Keep whether the server says what answers depend on. */
  connect(info) {
    this.#measuresEvidence = info.evidence;
  }

  /** Return the images that a mode is about if none are added: those of the last turn with some. */
  imagesFor(mode) {
    const last = this.#turns.findLast((turn) => turn.images.length);
    if (!last || (mode.name === "ask" && isChat(last) && last.answer)) return []; // the model still has them
    if (mode.images < 2) return last.images;
    const all = new Set(this.#turns.flatMap((turn) => turn.images));
    return [...all].slice(-Math.max(mode.images, last.images.length));
  }

  /** Add a turn and run it. */
  async add(mode, text, images, shown) {
    this.#turns.at(-1)?.view.setLast(false);
    const turn = { mode, text, images, shown, answer: "", isChat: false };
    turn.view = new TurnView(turn, () => this.#answer(turn), () => this.#explain(turn));
    this.#turns.push(turn);
    this.list.append(turn.view.element);
    await this.#answer(turn);
  }

  /** Stop the turn that runs. */
  stop() {
    this.#running?.abort();
  }

  /** Forget all turns. */
  clear() {
    this.stop();
    this.#turns.flatMap((turn) => turn.images).forEach((image) => image.release());
    this.#turns = [];
    this.list.replaceChildren();
  }

  async #answer(turn) {
    if (this.isRunning) return;
    turn.view.start();
    await this.#run(turn, async (history, signal) => {
      await runTurn(turn, history, turn.view, signal);
      return turn.answer || "Done.";
    });
  }

  /** Show where in the image the answer of a turn comes from. */
  async #explain(turn) {
    if (this.isRunning) return;
    turn.view.wait("Looking for what the answer depends on.", turn.view.figures);
    await this.#run(turn, async (history, signal) => {
      const found = await showEvidence(turn, history, turn.view, signal);
      turn.view.isExplained = true;
      return found;
    });
  }

  /** Run what returns the words that screen readers hear at its end. */
  async #run(turn, work) {
    const running = (this.#running = new AbortController());
    const history = this.#turns.slice(0, this.#turns.indexOf(turn));
    this.onState(true);
    try {
      announce(await this.#withImages(turn, history, running.signal, work));
    } catch (error) {
      if (error.name === "AbortError") {
        turn.view.note("Stopped.", "passing note");
        announce("Stopped.");
      } else {
        if (!(error instanceof ApiError)) console.error(error);
        turn.view.fail(error instanceof ApiError ? error.message : "The page failed. Load it anew.");
        this.onError(error);
      }
    } finally {
      this.#running = null;
      turn.view.finish(this.#measuresEvidence && hasEvidence(turn, history));
      this.onState(false);
    }
  }

  /** Run with the images on the server; once more if it had dropped them, and nothing is shown. */
  async #withImages(turn, history, signal, work) {
    const images = [turn, ...history].flatMap((item) => item.images);
    const shown = turn.answer;
    try {
      await untilAborted(Promise.all(images.map((image) => image.upload())), signal);
      return await work(history, signal);
    } catch (error) {
      if (error.code !== "invalid_image" || turn.answer !== shown) throw error;
      images.forEach((image) => image.forget());
      await untilAborted(Promise.all(images.map((image) => image.upload())), signal);
      return work(history, signal);
    }
  }
}

/** Pixels that the header covers. */
const HEADER = 72;
/** Whether the page scrolls with the answer: until the reader scrolls. */
let follows = true;
for (const name of ["wheel", "touchmove"]) addEventListener(name, () => (follows = false), { passive: true });

/** A turn in the document. */
class TurnView {
  constructor(turn, retry, explain) {
    this.turn = turn;
    this.text = create("p", { class: "text" });
    this.figures = create("div", { class: "figures" });
    this.notes = create("div", { class: "notes" });
    this.retry = button("retry", "Try again", retry);
    this.copy = button("copy", "Copy", () => this.#copy());
    this.evidence = button("evidence", "Where in the image?", explain);
    this.tools = create("div", { class: "tools", hidden: true }, this.copy, this.evidence, this.retry);
    this.answer = create("div", { class: "answer" }, create("span", { class: "hidden" }, "Answer: "), this.text, this.figures, this.notes, this.tools);
    this.figures.addEventListener("load", () => this.#follow(), true);
    this.element = create("li", { class: "turn" }, this.#question(), this.answer);
  }

  #question() {
    const { mode, text, shown } = this.turn;
    const label = mode.name === "ask" ? null : create("span", { class: "mode" }, mode.label);
    const thumbnails = shown.length ? create("div", { class: "thumbnails" }, ...shown.map(thumbnail)) : null;
    return create("div", { class: "question" }, create("span", { class: "hidden" }, "You: "), thumbnails, create("p", {}, label, create("span", {}, text)));
  }

  start() {
    this.turn.answer = "";
    this.text.textContent = "";
    this.figures.replaceChildren();
    this.notes.replaceChildren();
    this.isExplained = false;
    this.wait("The model is answering.");
  }

  /** Show that something runs, have screen readers say what, and scroll to `anchor` at most. */
  wait(text, anchor = this.element) {
    this.anchor = anchor;
    for (const note of this.notes.querySelectorAll(".passing")) note.remove();
    this.hadFocus = this.tools.contains(document.activeElement);
    this.tools.hidden = true;
    this.answer.classList.add("waiting");
    this.answer.setAttribute("aria-busy", "true");
    announce(text);
    follows = true;
    this.#follow();
  }

  addText(text) {
    this.setText(this.turn.answer + text);
  }

  setText(text) {
    this.turn.answer = text;
    this.text.textContent = text;
    this.answer.classList.remove("waiting");
    this.#follow();
  }

  addNode(node) {
    this.figures.append(node);
    this.answer.classList.remove("waiting");
    this.#follow();
  }

  note(text, className = "note") {
    this.notes.append(create("p", { class: className }, text));
  }

  fail(text) {
    this.notes.append(create("p", { class: "passing problem", role: "alert" }, text));
  }

  /** @param {boolean} hasEvidence Whether the server can say what the answer depends on. */
  finish(hasEvidence) {
    this.answer.classList.remove("waiting");
    this.answer.removeAttribute("aria-busy");
    this.tools.hidden = false;
    this.evidence.hidden = !hasEvidence || this.isExplained;
    this.copy.hidden = !this.turn.answer || !navigator.clipboard;
    if (this.hadFocus && document.activeElement === document.body) {
      this.tools.querySelector("button:not([hidden])")?.focus({ preventScroll: true });
    }
    this.#follow();
  }

  /** Only the last turn can be run again: later ones build on it. */
  setLast(isLast) {
    this.retry.hidden = !isLast;
  }

  async #copy() {
    await navigator.clipboard.writeText(this.turn.answer);
    announce("Copied.");
    this.copy.lastChild.textContent = "Copied";
    setTimeout(() => (this.copy.lastChild.textContent = "Copy"), 1500);
  }

  /** Keep the end of the answer in sight, or its question (or drawing) if it is long. */
  #follow() {
    if (!follows) return;
    const { scrollTop, scrollHeight, clientHeight } = document.documentElement;
    const begin = scrollTop + this.anchor.getBoundingClientRect().top - HEADER;
    scrollTo({ top: Math.min(begin, scrollHeight - clientHeight) });
  }
}

function announce(text) {
  show(byId("status"), text);
}

function untilAborted(promise, signal) {
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    promise.then(resolve, reject);
  });
}

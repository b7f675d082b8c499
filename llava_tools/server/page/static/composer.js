// Where the user writes: the mode, the images to send, the question, send and stop.

import { ApiError } from "./api.js";
import { byId, create, icon, show } from "./dom.js";
import { readFiles } from "./images.js";
import { isAboutDocuments, listModes, missing, thingToLocate } from "./modes.js";

export class Composer {
  #modes = [];
  #mode = null;
  #images = [];
  #limits = null;

  /** @param {import("./conversation.js").Conversation} conversation */
  constructor(conversation) {
    this.conversation = conversation;
    this.question = byId("question");
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    byId("stop").addEventListener("click", () => conversation.stop());
    this.question.addEventListener("keydown", (event) => this.#onKey(event));
    this.question.addEventListener("input", () => this.#resize());
    this.#connectFiles();
  }

  /** Show the modes and keep the limits of a server. */
  connect(info) {
    this.#limits = info.limits;
    this.#modes = listModes(info);
    const chips = this.#modes.map((mode) => {
      const choose = () => this.choose(mode.name);
      const radio = create("input", { type: "radio", name: "mode", value: mode.name, onchange: choose });
      return create("label", { class: "chip" }, radio, create("span", {}, mode.label));
    });
    byId("modes").replaceChildren(byId("modes").firstElementChild, ...chips);
    this.choose("ask");
  }

  /** Choose a mode by its name. */
  choose(name) {
    this.#mode = this.#modes.find((mode) => mode.name === name);
    for (const radio of byId("modes").querySelectorAll("input")) radio.checked = radio.value === name;
    showChip(byId("modes").querySelector("input:checked").parentElement);
    this.question.placeholder = this.#mode.placeholder;
    this.question.readOnly = !this.#mode.text;
    if (!this.#mode.text) this.question.value = "";
    const hideImages = isAboutDocuments(this.#mode);
    for (const id of ["choose", "photograph"]) byId(id).classList.toggle("unused", hideImages);
    show(byId("problem"), "");
  }

  /** Add images to the next question. */
  add(files) {
    show(byId("problem"), "");
    try {
      const images = readFiles(files, this.#limits.image_bytes);
      if (this.#images.length + images.length > this.#limits.images) {
        throw new ApiError(`A question takes ${this.#limits.images} images at most. Remove some.`);
      }
      if (isAboutDocuments(this.#mode)) this.choose("ask");
      images.forEach((image) => this.#addImage(image));
    } catch (error) {
      this.#showError(error);
    }
    this.question.focus();
  }

  /** Send the question. */
  submit() {
    if (this.conversation.isRunning || !this.#mode) return;
    const [mode, text] = this.#read();
    const added = isAboutDocuments(mode) ? [] : this.#images;
    const images = added.length || isAboutDocuments(mode) ? added : this.conversation.imagesFor(mode);
    const problem = missing(mode, text, images);
    show(byId("problem"), problem);
    if (problem) return;
    this.question.value = "";
    this.#resize();
    if (added.length) this.#setImages([]);
    byId("welcome").hidden = true;
    this.conversation.add(mode, text, images, mode.name === "ask" ? images : added);
  }

  /** Return the mode and the text; "Where is ...?" is answered by a box, if there is an image. */
  #read() {
    const text = this.question.value.trim();
    const locate = this.#modes.find((mode) => mode.name === "locate");
    const thing = this.#mode.name === "ask" && locate ? thingToLocate(text) : null;
    const hasImage = this.#images.length || this.conversation.imagesFor(locate ?? this.#mode).length;
    return thing && hasImage ? [locate, thing] : [this.#mode, text];
  }

  /** Start afresh. */
  clear() {
    this.question.value = "";
    this.#setImages([]);
    this.choose("ask");
    this.#resize();
    this.question.focus();
  }

  /** Show send, or stop while a turn runs. */
  setRunning(isRunning) {
    const hadFocus = document.activeElement === byId("send") || document.activeElement === byId("stop");
    byId("send").hidden = isRunning;
    byId("stop").hidden = !isRunning;
    if (hadFocus) byId(isRunning ? "stop" : "send").focus();
  }

  #onKey(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.submit();
  }

  #resize() {
    this.question.style.height = "auto";
    this.question.style.height = `${this.question.scrollHeight}px`;
  }

  #connectFiles() {
    for (const [button, input] of [["choose", "files"], ["photograph", "camera"]]) {
      byId(button).addEventListener("click", () => byId(input).click());
      byId(input).addEventListener("change", () => {
        this.add(byId(input).files);
        byId(input).value = "";
      });
    }
    document.addEventListener("paste", (event) => {
      if (!event.clipboardData.files.length) return;
      event.preventDefault();
      this.add(event.clipboardData.files);
    });
    connectDrop((files) => this.add(files));
  }

  #addImage(image) {
    this.#setImages([...this.#images, image]);
    const { url } = image;
    const show = () => image.url !== url && this.#setImages(this.#images);
    image.upload().then(show, (error) => {
      this.#setImages(this.#images.filter((other) => other !== image));
      this.#showError(error);
    });
  }

  #setImages(images) {
    this.#images = images;
    byId("tray").replaceChildren(...images.map((image) => this.#trayItem(image)));
    byId("tray").hidden = !images.length;
  }

  #trayItem(image) {
    const remove = create("button", {
      type: "button",
      class: "remove",
      "aria-label": `Remove ${image.name}`,
      onclick: () => {
        this.#setImages(this.#images.filter((other) => other !== image));
        this.question.focus();
      },
    }, icon("close"));
    return create("li", {}, create("img", { src: image.url, alt: image.name }), remove);
  }

  #showError(error) {
    if (!(error instanceof ApiError)) throw error;
    show(byId("problem"), error.message);
  }
}

/** Scroll the row of modes, on narrow screens, so that one is in sight. */
function showChip(chip) {
  const { offsetLeft, offsetWidth, parentElement: row } = chip;
  const left = Math.max(0, offsetLeft + offsetWidth - row.clientWidth / 2);
  if (row.scrollWidth > row.clientWidth) row.scrollTo({ left });
}

/** Take files that are dropped anywhere on the page. */
function connectDrop(take) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    byId("drop").hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) byId("drop").hidden = true;
  });
  document.addEventListener("drop", (event) => {
    byId("drop").hidden = true;
    if (!hasFiles(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files);
  });
}

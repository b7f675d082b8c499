// Starts the page: asks the server what it is, then connects composer, conversation and dialogs.

import { fetchJson, releaseImages } from "./api.js";
import { Composer } from "./composer.js";
import { Conversation } from "./conversation.js";
import { byId, create, show } from "./dom.js";
import { examples } from "./examples.js";
import { megabytes } from "./images.js";
import { connectSettings, openSettings, showKeyField } from "./settings.js";

/** Milliseconds between questions whether the model is loaded. */
const POLL = 1000;

const conversation = new Conversation({
  onState: (isRunning) => composer.setRunning(isRunning),
  onError: (error) => error.status === 401 && openSettings(error.message),
});
const composer = new Composer(conversation);

async function start() {
  let info;
  try {
    info = await fetchJson("/llava/info");
  } catch (error) {
    show(byId("banner"), error.message);
    if (error.status === 401) openSettings("This server wants an API key.");
    return;
  }
  show(byId("banner"), "");
  describe(info);
  composer.connect(info);
  conversation.connect(info);
  byId("examples").replaceChildren(...examples(info, composer));
  if (!info.loaded) await waitForModel();
}

function describe({ model, notice, passes_on, evidence, requires_key, limits, index }) {
  if (passes_on) {
    show(byId("lead"), "Drop, paste or choose an image. It goes to this server, and from there to its model server.");
    show(byId("about-privacy"), "This server passes images and questions on to a model server.");
  }
  show(byId("model"), model);
  show(byId("notice"), notice);
  show(byId("about-notice"), notice);
  byId("about-model").replaceChildren("The model is ", create("strong", {}, model), ".");
  byId("about-limits").textContent =
    `An image may have ${megabytes(limits.image_bytes)}, and a question ${limits.images} images.`;
  byId("about-evidence").hidden = evidence;
  if (requires_key) showKeyField();
  byId("sentences-row").hidden = !index;
  if (index) show(byId("index"), index.error ?? documentsLine(index));
}

function documentsLine({ documents, pages }) {
  const files = documents === 1 ? "a document" : `${documents} documents`;
  return `“Documents” asks ${files} with ${pages} ${pages === 1 ? "page" : "pages"}, and cites them.`;
}

async function waitForModel() {
  show(byId("banner"), "The model is being loaded. Ask in a moment.");
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, POLL));
    try {
      const { model } = await fetchJson("/health");
      show(byId("model"), model);
      show(byId("banner"), "");
      return;
    } catch (error) {
      if (error.code !== "model_loading") {
        show(byId("banner"), error.message);
        return;
      }
    }
  }
}

connectSettings(start);
byId("new").addEventListener("click", () => {
  conversation.clear();
  composer.clear();
  releaseImages();
  byId("welcome").hidden = false;
});
byId("open-about").addEventListener("click", () => byId("about").showModal());
for (const button of document.querySelectorAll("dialog [data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) conversation.stop();
});
start();

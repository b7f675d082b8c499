// Settings: sampling and the system message, kept in this browser; the API key, kept in this tab.

import { apiKey } from "./api.js";
import { byId, show } from "./dom.js";

const NAME = "llava-tools.settings";
const DEFAULTS = { temperature: 0, maxTokens: 512, system: "", sentences: false };

/** The settings now. */
export const settings = { ...DEFAULTS, ...stored() };

function stored() {
  try {
    return JSON.parse(localStorage.getItem(NAME) ?? "{}");
  } catch {
    return {}; // written by something else
  }
}

/**
 * Connect the dialog.
 * @param {() => void} onKey Called after another API key was saved.
 */
export function connectSettings(onKey) {
  byId("open-settings").addEventListener("click", () => openSettings());
  byId("defaults").addEventListener("click", () => fill(DEFAULTS));
  byId("settings-form").addEventListener("submit", (event) => {
    event.preventDefault();
    save();
    byId("settings").close();
    const key = byId("api-key").value.trim();
    if (key !== apiKey.get()) {
      apiKey.set(key);
      onKey();
    }
  });
}

/**
 * Open the dialog.
 * @param {string} problem What is wrong with the API key.
 */
export function openSettings(problem = "") {
  fill(settings);
  show(byId("key-problem"), problem);
  byId("api-key").value = apiKey.get();
  if (problem) showKeyField();
  if (!byId("settings").open) byId("settings").showModal();
  (problem ? byId("api-key") : byId("temperature")).focus();
}

/** Show the field of the API key, for servers that want one. */
export function showKeyField() {
  byId("key-row").hidden = false;
}

function fill(values) {
  byId("temperature").value = values.temperature;
  byId("max-tokens").value = values.maxTokens;
  byId("system").value = values.system;
  byId("sentences").checked = values.sentences;
}

function save() {
  Object.assign(settings, {
    temperature: byId("temperature").valueAsNumber,
    maxTokens: byId("max-tokens").valueAsNumber,
    system: byId("system").value.trim(),
    sentences: byId("sentences").checked,
  });
  localStorage.setItem(NAME, JSON.stringify(settings));
}

// Requests to the server: the API key, errors of one line, streams of events.

const KEY = "llava-tools.key";

/** An error that is shown to the user. */
export class ApiError extends Error {
  /**
   * @param {string} message One line.
   * @param {number} status HTTP status; 0 if there was no response, or it had begun.
   * @param {string|null} code OpenAI's code of the error.
   */
  constructor(message, status = 0, code = null) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** The API key, kept until the tab is closed. */
export const apiKey = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

/**
 * Send a request and return its response.
 * @param {string} path
 * @param {{json?: object, body?: Blob, signal?: AbortSignal}} options `json` or `body` make it a POST.
 * @throws {ApiError} The server refuses, or cannot be reached.
 */
export async function send(path, { json, body, signal } = {}) {
  const headers = {};
  if (apiKey.get()) headers.Authorization = `Bearer ${apiKey.get()}`;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  const content = json === undefined ? body : JSON.stringify(json);
  const method = content === undefined ? "GET" : "POST";
  let response;
  try {
    response = await fetch(path, { method, headers, body: content, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer. See whether it still runs, then try again.");
  }
  if (!response.ok) throw await readError(response);
  return response;
}

/** `send`, and return the JSON of the response. */
export async function fetchJson(path, options) {
  return (await send(path, options)).json();
}

async function readError(response) {
  const waits = response.status === 429 ? " The server is busy." : "";
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // A proxy in between has answered; the status is all there is.
  }
  const message = error.message ?? `The server answered with status ${response.status}.`;
  return new ApiError(message + waits, response.status, error.code ?? null);
}

/**
 * Yield the data of a stream's events as objects, up to `[DONE]` or its end.
 * @throws {ApiError} Also for an error that comes within the stream.
 */
export async function* fetchEvents(path, json, signal) {
  const response = await send(path, { json, signal });
  for await (const line of readLines(response.body)) {
    if (!line.startsWith("data:")) continue; // comments keep the connection open
    const data = line.slice(5).trim();
    if (data === "[DONE]") continue; // the stream ends after it
    const event = JSON.parse(data);
    if (event.error) throw new ApiError(event.error.message, 0, event.error.code);
    yield event;
  }
}

async function* readLines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split(/\r?\n/);
      rest = lines.pop();
      yield* lines;
    }
    if (rest) yield rest;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The connection to the server broke. Try again.");
  } finally {
    reader.releaseLock();
  }
}

const fetched = new Set();

/** Return a local address of an image that the server has, for which it may want the key. */
export async function fetchImage(path, signal) {
  const url = URL.createObjectURL(await (await send(path, { signal })).blob());
  fetched.add(url);
  return url;
}

/** Free the memory of all images that were fetched. */
export function releaseImages() {
  fetched.forEach((url) => URL.revokeObjectURL(url));
  fetched.clear();
}

// Images that the user adds: checked against the limits, sent once, then named by their handle.

import { ApiError, fetchImage, fetchJson } from "./api.js";

/** Media types that browsers show; the server returns others, such as TIFF, as PNG. */
const SHOWN = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp"];

/** An image of the conversation. */
export class UserImage {
  #upload = null;

  /** @param {Blob} file @param {string} name */
  constructor(file, name) {
    this.file = file;
    this.name = name;
    this.url = URL.createObjectURL(file);
    this.handle = null;
    this.width = 0;
    this.height = 0;
  }

  /**
   * Send the image if the server does not have it yet; it checks the image.
   * @throws {ApiError} It is no usable image.
   */
  upload() {
    this.#upload ??= this.#send().catch((error) => {
      this.#upload = null;
      throw error;
    });
    return this.#upload;
  }

  async #send() {
    Object.assign(this, await fetchJson("/llava/images", { body: this.file }));
    if (!SHOWN.includes(this.file.type)) this.url = await fetchImage(`/llava/images/${this.handle}`);
  }

  /** Free the memory of the image on the page. */
  release() {
    URL.revokeObjectURL(this.url);
  }

  /** Have `upload` send it again: the server needed its room for others, or was started anew. */
  forget() {
    this.#upload = null;
  }
}

/**
 * Return the images among files.
 * @param {Iterable<File>} files
 * @param {number} maxBytes
 * @throws {ApiError} One is no image, or larger than the server takes.
 */
export function readFiles(files, maxBytes) {
  return [...files].map((file) => {
    const name = file.name || "image";
    if (file.type && !file.type.startsWith("image/")) {
      throw new ApiError(`${name} is no image. Choose a PNG, JPEG, WebP or GIF.`);
    }
    if (file.size > maxBytes) {
      const message = `${name} has ${megabytes(file.size)}; this server takes ${megabytes(maxBytes)}.`;
      throw new ApiError(`${message} Make it smaller first.`);
    }
    return new UserImage(file, name);
  });
}

/** Return a number of bytes in words. */
export function megabytes(bytes) {
  const value = bytes / 2 ** 20;
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} MB`;
}

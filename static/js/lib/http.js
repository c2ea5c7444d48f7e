// fetch() with the CSRF token and with errors that carry the panel's own text and code.

export class HttpError extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {string} requestId */
  constructor(status, code, message, requestId = "") {
    super(message);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
  }
}

export const csrfToken = () => document.querySelector('meta[name="csrf-token"]')?.getAttribute("content") ?? "";

/** What a person should read when a request failed; the panel's own text where there is one. */
export function describeFailure(status, body) {
  const code = body?.error?.code ?? `http-${status}`;
  const text = body?.error?.message;
  if (text) return { code, message: String(text) };
  if (status === 0) return { code: "unreachable", message: "The panel does not answer. Check your connection and try again." };
  if (status === 401) return { code, message: "You are signed out. Sign in again." };
  if (status === 403) return { code, message: "You may not do that." };
  if (status === 404) return { code, message: "That is not there any more." };
  if (status === 429) return { code, message: "Too many requests. Wait a moment and try again." };
  return { code, message: `That did not work (${status}). Try again in a moment.` };
}

async function request(method, url, { body, headers = {}, signal } = {}) {
  let response;
  try {
    response = await fetch(url, {
      method,
      body,
      signal,
      credentials: "same-origin",
      headers: { Accept: "application/json", "X-Requested-With": "fetch", "X-CSRFToken": csrfToken(), ...headers },
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    const { code, message } = describeFailure(0, null);
    throw new HttpError(0, code, message);
  }
  const isJson = (response.headers.get("Content-Type") ?? "").includes("json");
  const data = isJson && response.status !== 204 ? await response.json() : null;
  if (!response.ok) {
    const { code, message } = describeFailure(response.status, data);
    throw new HttpError(response.status, code, message, response.headers.get("X-Request-ID") ?? "");
  }
  return data;
}

/** @returns {Promise<any>} the parsed JSON; throws HttpError */
export const getJson = (url, options) => request("GET", url, options);

/** Send form fields; returns parsed JSON or null; throws HttpError. */
export const postForm = (url, fields, options = {}) =>
  request("POST", url, { ...options, body: new URLSearchParams(fields) });

/* The client of perwatt for Node and browsers. It knows the paths, the types (perwatt.d.ts) and the errors.

   import { Client, ProblemError } from "perwatt-client";

   const client = new Client("http://127.0.0.1:8000", { key: "pw_…" });
   const answer = await client.search("docs", { text: "rotate an api key", k: 5 });

It does as the Python client does. A call is repeated when the server said that it did nothing and that waiting helps
(503, and for a call that changes nothing also 504), or when no answer came to a call that may be made twice. It waits for
as long as Retry-After says, else a time that doubles with every try; both are lengthened at random, so that callers who
were refused together do not return together. 429 is not repeated: an exhausted quota is for the caller to handle. */

const EMBEDDED = 256; // texts of a request: so few that it is answered well within a client's patience
const AGAIN = [503, 504];

/** Base of what is thrown; `message` is a sentence for a person. */
export class ClientError extends Error {
  name = "ClientError";
}

/** No answer came, or one that no perwatt server would give. */
export class UnreachableError extends ClientError {
  name = "UnreachableError";
}

/** The server answered with a problem object (RFC 9457); `code` is one of a closed list, to switch over. */
export class ProblemError extends ClientError {
  name = "ProblemError";

  constructor(status, members, requestId) {
    super(`${members.detail} (${members.code}, ${status})`);
    this.status = status;
    this.members = members;
    this.requestId = requestId;
    this.code = members.code;
    this.detail = members.detail;
    this.pointer = members.pointer ?? null;
  }
}

export class Client {
  #url;
  #headers;
  #timeoutMs;
  #retries;
  #fetch;

  constructor(url, { key, timeoutMs = 30_000, retries = {}, fetch = globalThis.fetch } = {}) {
    if (!/^https?:\/\//.test(url)) {
      throw new TypeError(`url is ${JSON.stringify(url)}, expected an address like http://127.0.0.1:8000.`);
    }
    if (key !== undefined && !/^[\x20-\x7e]+$/.test(key)) {
      throw new TypeError("The key has characters that no key has; expected one as `perwatt keys create` prints it, pw_….");
    }
    this.#url = url.replace(/\/+$/, "");
    this.#headers = { "content-type": "application/json", ...(key && { authorization: `Bearer ${key}` }) };
    this.#timeoutMs = timeoutMs;
    this.#retries = { times: 3, firstMs: 100, totalMs: 30_000, ...retries };
    this.#fetch = (...asked) => fetch(...asked); // a browser's own must not be called as a method of ours
  }

  search(index, query, options) {
    return this.#call("POST", `/v1/indexes/${part(index)}/search`, { body: sendable(query), ...options });
  }

  searchBatch(index, queries, options) {
    const body = { queries: queries.map(sendable) };
    return this.#call("POST", `/v1/indexes/${part(index)}/search/batch`, { body, ...options });
  }

  searchIndexes(indexes, query, options) {
    return this.#call("POST", "/v1/search", { body: { indexes, ...sendable(query) }, ...options });
  }

  facets(index, facets, { query = {}, ...options } = {}) {
    return this.#call("POST", `/v1/indexes/${part(index)}/facets`, { body: { facets, ...sendable(query) }, ...options });
  }

  document(index, id, { fields, ...options } = {}) {
    const chosen = fields === undefined ? "" : `?fields=${fields.map(part).join(",")}`;
    return this.#call("GET", `/v1/indexes/${part(index)}/documents/${part(id)}${chosen}`, options);
  }

  put(index, documents, options) {
    const body = { documents: documents.map(sendable) };
    return this.#call("PUT", `/v1/indexes/${part(index)}/documents`, { body, ...options });
  }

  delete(index, which, options) {
    return this.#call("POST", `/v1/indexes/${part(index)}/documents/delete`, { body: which, ...options });
  }

  async embed(texts, { kind = "document", ...options } = {}) {
    if (typeof texts === "string") throw new TypeError("embed takes a list of texts, not a single one.");
    const vectors = [];
    for (let first = 0; first < texts.length; first += EMBEDDED) {
      const input = texts.slice(first, first + EMBEDDED);
      const body = { input, input_type: kind, encoding_format: "base64" };
      const answer = await this.#call("POST", "/v1/embeddings", { body, ...options });
      vectors.push(...answer.data.map((one) => floats(one.embedding)));
    }
    return vectors;
  }

  async indexes(options) {
    return (await this.#call("GET", "/v1/indexes", options)).indexes;
  }

  index(name, options) {
    return this.#call("GET", `/v1/indexes/${part(name)}`, options);
  }

  recall(index, request = {}, options = {}) {
    return this.#call("POST", `/v1/indexes/${part(index)}/recall`, { body: request, ...options });
  }

  version(options) {
    return this.#call("GET", "/version", options);
  }

  async ready(options) {
    try {
      await this.#call("GET", "/readyz", { ...options, retries: { times: 0 } });
      return true;
    } catch (error) {
      if (error instanceof ClientError) return false;
      throw error;
    }
  }

  usage(options) {
    return this.#call("GET", "/v1/usage", options);
  }

  startRebuild(index, { source = "changes", ...options } = {}) {
    const changes = options.idempotencyKey === undefined;
    return this.#call("POST", "/v1/rebuilds", { body: { index, source }, changes, ...options });
  }

  rebuild(id, options) {
    return this.#call("GET", `/v1/rebuilds/${part(id)}`, options);
  }

  async rebuilds(options) {
    return (await this.#call("GET", "/v1/rebuilds", options)).rebuilds;
  }

  cancelRebuild(id, options) {
    return this.#call("DELETE", `/v1/rebuilds/${part(id)}`, options);
  }

  switch(alias, generation, options) {
    return this.#call("PUT", `/v1/aliases/${part(alias)}`, { body: { generation }, changes: true, ...options });
  }

  rollback(alias, options) {
    return this.#call("POST", `/v1/aliases/${part(alias)}/rollback`, { changes: true, ...options });
  }

  /* changes: whether it changes the server in a way that must not be done twice. */
  async #call(method, path, { body, changes = false, signal, timeoutMs, retries, etag, idempotencyKey } = {}) {
    const headers = {
      ...this.#headers,
      ...(etag !== undefined && { "if-match": `"${etag}"` }),
      ...(idempotencyKey !== undefined && { "idempotency-key": idempotencyKey }),
    };
    const asked = { method, headers, body: body && JSON.stringify(body), redirect: "error" };
    const wait = waits({ ...this.#retries, ...retries }, signal);
    for (;;) {
      signal?.throwIfAborted();
      const patience = AbortSignal.timeout(timeoutMs ?? this.#timeoutMs);
      asked.signal = signal ? AbortSignal.any([signal, patience]) : patience;
      let answer, text;
      try {
        answer = await this.#fetch(this.#url + path, asked);
        text = await answer.text();
      } catch (error) {
        signal?.throwIfAborted(); // the caller's own reason
        const untouched = error.cause?.code === "ECONNREFUSED"; // browsers do not tell
        if ((changes && !untouched) || !(await wait(null))) {
          throw new UnreachableError(`${this.#url} did not answer: ${error.cause?.message ?? error.message}.`, {
            cause: error,
          });
        }
        continue;
      }
      if (answer.ok) return decoded(text);
      const mayHaveBeenDone = changes && answer.status === 504;
      if (mayHaveBeenDone || !AGAIN.includes(answer.status) || !(await wait(answer.headers.get("retry-after")))) {
        throw problem(answer, text);
      }
    }
  }
}

/* A function that waits before the next try, or says that there is none. */
function waits({ times, firstMs, totalMs }, signal) {
  const start = Date.now();
  let made = 0;
  return async (retryAfter) => {
    if (++made > times) return false;
    const named = /^\d+$/.test(retryAfter ?? "");
    const ms = (named ? Number(retryAfter) * 1000 : firstMs * 2 ** (made - 1)) * (1 + Math.random() / 4);
    if (Date.now() + ms - start > totalMs) return false;
    await new Promise((resolve, reject) => {
      const stop = () => (clearTimeout(timer), reject(signal.reason));
      const timer = setTimeout(() => (signal?.removeEventListener("abort", stop), resolve()), ms);
      if (signal?.aborted) stop();
      signal?.addEventListener("abort", stop, { once: true });
    });
    return true;
  };
}

function decoded(text) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UnreachableError(`The answer is none of perwatt (${error.message}); is that the right address?`);
  }
}

function problem(answer, text) {
  try {
    const members = JSON.parse(text);
    if (members?.code && members?.detail) {
      return new ProblemError(answer.status, members, answer.headers.get("x-request-id"));
    }
  } catch {
    // falls through
  }
  return new UnreachableError(`The answer was ${answer.status} and no problem object of perwatt; is that the right address?`);
}

/* A query or a document with its vector as base64 of little-endian float32, a third of the bytes. */
function sendable(given) {
  const { vector } = given;
  if (vector === undefined || vector === null || typeof vector === "string") return given;
  const view = new DataView(new ArrayBuffer(4 * vector.length));
  for (let place = 0; place < vector.length; place++) view.setFloat32(4 * place, vector[place], true);
  let bytes = "";
  for (const byte of new Uint8Array(view.buffer)) bytes += String.fromCharCode(byte);
  return { ...given, vector: btoa(bytes) };
}

function floats(base64) {
  const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 4 }, (_, place) => view.getFloat32(4 * place, true));
}

const part = encodeURIComponent;

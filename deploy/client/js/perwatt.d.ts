import type {
  BatchAnswer, BatchFailure, BatchResult, DeleteAnswer, DeleteRequest, DocumentAnswer, Facet, FacetsAnswer, FacetsRequest, Hit, IndexInfo,
  IndexedHit, Problem, PutAnswer, PutDocument, RebuildAnswer, RecallAnswer, RecallRequest, SearchAnswer, SearchRequest,
  SeveralAnswer, SeveralRequest, UsageAnswer,
} from "./schema.js";

export type * from "./schema.js";

/** Numbers, or base64 of little-endian float32. */
export type Vector = ArrayLike<number> | string;
export type Query = Omit<SearchRequest, "vector"> & { vector?: Vector | null };
export type NewDocument = Omit<PutDocument, "vector"> & { vector?: Vector | null };
type Payload = Record<string, unknown>;
type Of<P, T> = Omit<T, "payload"> & { payload: P };
type HitsOf<P, T> = Omit<T, "hits"> & { hits: Of<P, Hit>[] };

export interface Retries {
  /** Further tries: 3. */
  times?: number;
  /** The wait before the second try, where the server names none: 100. */
  firstMs?: number;
  /** Of all tries and waits together, after which no further try begins: 30,000. */
  totalMs?: number;
}

export interface Options {
  /** Aborts the call, and the waiting between its tries; what is thrown is the signal's reason. */
  signal?: AbortSignal;
  /** Of one try, instead of the client's. */
  timeoutMs?: number;
  /** Instead of the client's. */
  retries?: Retries;
}

export interface Write extends Options {
  /** Done once, however often it is sent. */
  idempotencyKey?: string;
}

export interface Conditional extends Options {
  /** Of the state that the decision was made on; another one is ProblemError precondition-failed. */
  etag?: string;
}

/** P is what the payloads of an index are. Every call may reject with ProblemError or UnreachableError. */
export class Client {
  constructor(url: string, options?: { key?: string; timeoutMs?: number; retries?: Retries; fetch?: typeof fetch });
  search<P = Payload>(index: string, query: Query, options?: Options): Promise<HitsOf<P, SearchAnswer>>;
  /** Up to 256 queries; one that failed has its `error` in its place. */
  searchBatch<P = Payload>(
    index: string, queries: readonly Query[], options?: Options,
  ): Promise<Omit<BatchAnswer, "results"> & { results: (HitsOf<P, BatchResult> | BatchFailure)[] }>;
  /** One query over several indexes, and one list of hits. */
  searchIndexes<P = Payload>(
    indexes: readonly string[], query: Omit<SeveralRequest, "indexes" | "vector"> & { vector?: Vector | null }, options?: Options,
  ): Promise<Omit<SeveralAnswer, "hits"> & { hits: Of<P, IndexedHit>[] }>;
  /** How many documents hold what. query: a filter, and for the best of a search what it searches for. */
  facets(
    index: string, facets: readonly Facet[],
    options?: Options & { query?: Omit<FacetsRequest, "facets" | "vector"> & { vector?: Vector | null } },
  ): Promise<FacetsAnswer>;
  document<P = Payload>(index: string, id: string, options?: Options & { fields?: readonly string[] }): Promise<Of<P, DocumentAnswer>>;
  /** Writes up to 1,000 documents. They are on the disk when it resolves; what could not be written is in `failed`. */
  put(index: string, documents: readonly NewDocument[], options?: Write): Promise<PutAnswer>;
  /** Deletes documents by ids or by a filter; one that is not there is not counted. */
  delete(index: string, which: DeleteRequest, options?: Write): Promise<DeleteAnswer>;
  /** One vector a text, however many, by the model that the server has loaded. */
  embed(texts: readonly string[], options?: Options & { kind?: "query" | "document" }): Promise<Float32Array[]>;
  indexes(options?: Options): Promise<IndexInfo[]>;
  index(name: string, options?: Options): Promise<IndexInfo>;
  recall(index: string, request?: RecallRequest, options?: Options): Promise<RecallAnswer>;
  version(options?: Options): Promise<Record<string, unknown>>;
  /** What each key has used since the service started, as far as this one may see it. */
  usage(options?: Options): Promise<UsageAnswer>;
  /** Whether requests should be sent there now; one look, without another try. */
  ready(options?: Options): Promise<boolean>;
  startRebuild(index: string, options?: Write & { source?: string }): Promise<RebuildAnswer>;
  rebuild(id: string, options?: Options): Promise<RebuildAnswer>;
  rebuilds(options?: Options): Promise<RebuildAnswer[]>;
  cancelRebuild(id: string, options?: Options): Promise<RebuildAnswer>;
  switch(alias: string, generation: string, options?: Conditional): Promise<IndexInfo>;
  rollback(alias: string, options?: Conditional): Promise<IndexInfo>;
}

export class ClientError extends Error {}

export class UnreachableError extends ClientError {}

export class ProblemError extends ClientError {
  readonly status: number;
  readonly code: Problem["code"];
  readonly detail: string;
  readonly pointer: string | null;
  readonly members: Problem;
  readonly requestId: string | null;
}

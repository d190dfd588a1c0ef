// Made from the API's schema by `python -m deploy.client.typescript`.

/** One query: exactly one of text, vector, id (a document to find the neighbours of) and ids (several). not_ids: documents that hits should be unlike. explain: each hit comes with its places in the rankings. mode: by meaning (dense), by words (lexical), by the weights that a sparse model gave documents (sparse), or fused (hybrid); all but the first take a text. A search that names neither mode nor params is the index's default one: by meaning, where it has none. group_by: a declared field of which each value gives its best hit alone. cursor: "" for the first of several pages, then next_cursor as it came. min_seq: of a write that has to be searched too; the answer waits for it. allow_partial: behind a router, an answer without the shards that do not answer is better than none. */
export interface SearchRequest {
  text?: string | null;
  vector?: number[] | string | null;
  id?: string | null;
  ids?: string[] | null;
  not_ids?: string[] | null;
  k?: number;
  mode?: "dense" | "hybrid" | "lexical" | "sparse";
  filter?: null | Filter;
  fields?: string[] | null;
  group_by?: string | null;
  cursor?: string | null;
  min_seq?: number | null;
  params?: SearchParams | null;
  rerank?: Rerank | null;
  timeout_ms?: number | null;
  expect?: Expect | null;
  allow_partial?: boolean;
  explain?: boolean;
  highlight?: Highlight | null;
}

/** effort: how hard to look, in the unit of the index family (candidates kept, lists probed); "target" is the least that met the recall target for rows held out of the index; None is the index's own choice, which is higher where questions need more. exact: compare with every vector instead. Of the fusion in mode hybrid: weights of the rankings; depth: rows of each whose scores count; rrf_k: by ranks instead, with this constant. */
export interface SearchParams {
  effort?: number | "target" | null;
  exact?: boolean;
  weights?: Weights | null;
  rrf_k?: number | null;
  depth?: number | null;
}

/** Of the rankings that a hybrid search fuses; 0 leaves one out. That by sparse weights is left out unless it is named. */
export interface Weights {
  dense?: number;
  lexical?: number;
  sparse?: number;
}

/** The best `top` hits (50, or k where that is more) are read by the server's reranker, and the best k by its scores are the answer. model: its name, for who relies on it. */
export interface Rerank {
  model?: string | null;
  top?: number | null;
}

/** What the caller relies on; an answer from anything else is refused with 412. */
export interface Expect {
  generation?: string | null;
  model?: string | null;
}

/** The words of the text that these fields of a hit hold, marked. fragments: so many pieces of a field, of about so many characters, those with the most different words first; 0 is the whole field. */
export interface Highlight {
  fields?: string[];
  fragments?: number;
  characters?: number;
}

/** model: fingerprint of the vectors searched, null where none is known. took_ms: from body read to answer. next_cursor: of the next page, when pages were asked for and there are hits left. seq: of an index that was written to, the last write that was searched. */
export interface SearchAnswer {
  index: string;
  generation: string;
  model: string | null;
  hits: Hit[];
  coverage: Coverage;
  usage: Usage;
  took_ms: number;
  next_cursor?: string | null;
  seq?: number;
}

/** score: cosine, inner product or minus the squared distance; BM25 in mode lexical; the sum of the products of weights in mode sparse; the fused score in mode hybrid, where scores has what it was made from; the reranker's where one was asked for. highlights: by field, fragments of its text, each in pieces of which every second one is marked, so the first may be empty. */
export interface Hit {
  id: string;
  score: number;
  payload: unknown;
  scores?: Scores | null;
  explain?: Explanation | null;
  highlights?: Record<string, string[][]> | null;
}

/** The scores that a hit of a hybrid search has in each ranking, where it is in it. */
export interface Scores {
  dense?: number | null;
  lexical?: number | null;
  sparse?: number | null;
}

/** In which rankings a hit is, and where. fused_by: score, or rank for all hits of a fusion by ranks and for those behind the best `depth`, whose scores are what the rankings add, less 1. */
export interface Explanation {
  dense?: RankPlace | null;
  lexical?: RankPlace | null;
  fused_by?: "rank" | "score" | null;
  sparse?: RankPlace | null;
}

/** Of a hit in one ranking. rank: from 1; of groups, where hits are grouped and not fused. adds: what the ranking adds to a fused score. */
export interface RankPlace {
  rank: number;
  score: number;
  adds?: number | null;
}

/** survivors: documents that could have been hits. exact: all of them were compared. partial: of the last page there is, that further hits may exist which paging does not lead to (`/version` has its limits). shards, answered: behind a router, how many shards there are, and how many of them this answer is from. codes: vectors were compared as their codes restore them, also where exact is true: the index was built without its originals. unweighed: of the survivors, those that were written since the build without their sparse model at hand, so that they have no weights: they are in no ranking by sparse weights before the next build. */
export interface Coverage {
  survivors: number;
  exact: boolean;
  partial: boolean;
  shards?: number | null;
  answered?: number | null;
  codes?: boolean;
  unweighed?: number;
}

/** tokens of the query text. vectors_scored: distances computed. cpu_ms: processor time of this query alone; of a text that was encoded together with others, its share by tokens. cached: query texts that were not encoded, because their vector was kept from the last time: 0 or 1, in a batch their number. encoder: what made the vector of a text, the model or the generation's fitted encoder; not in the sum of a batch. reranked: hits that a reranker read, rerank_tokens: what that was in tokens. */
export interface Usage {
  tokens: number;
  vectors_scored: number;
  cpu_ms: number;
  cached?: number;
  encoder?: "fitted" | "model";
  reranked?: number;
  rerank_tokens?: number;
}

/** Up to 256 queries, each a SearchRequest without `min_seq` that is decoded on its own so that a bad one spoils no other. */
export interface BatchRequest {
  queries: SearchRequest[];
  min_seq?: number | null;
  timeout_ms?: number | null;
}

/** One result or one problem object a query, in the order of the queries; usage is their sum. */
export interface BatchAnswer {
  index: string;
  generation: string;
  model: string | null;
  results: (BatchResult | BatchFailure)[];
  usage: Usage;
  took_ms: number;
  seq?: number;
}

/** One query over several indexes, by their aliases: a text or a vector, and what else a search has but for pages, groups, documents of one index, `rerank`, `expect` and `min_seq`. merge: hits by their scores, which takes indexes of one model and metric, or by their ranks; without it, by scores where they compare. */
export interface SeveralRequest {
  indexes: string[];
  text?: string | null;
  vector?: number[] | string | null;
  k?: number;
  mode?: "dense" | "hybrid" | "lexical" | "sparse";
  merge?: "rank" | "score" | null;
  filter?: null | Filter;
  fields?: string[] | null;
  params?: SearchParams | null;
  timeout_ms?: number | null;
  allow_partial?: boolean;
  explain?: boolean;
  highlight?: Highlight | null;
}

/** merged: by what the hits of the indexes were put in order, their scores or their ranks. indexes: in the order of the request. usage: of all searches. */
export interface SeveralAnswer {
  hits: IndexedHit[];
  merged: "rank" | "score";
  indexes: SearchedIndex[];
  usage: Usage;
  took_ms: number;
}

/** As Hit, of one of several indexes; the score is the one it has there. */
export interface IndexedHit {
  index: string;
  id: string;
  score: number;
  payload: unknown;
  scores?: Scores | null;
  explain?: Explanation | null;
  highlights?: Record<string, string[][]> | null;
}

/** One of several indexes that were searched; as in SearchAnswer. */
export interface SearchedIndex {
  index: string;
  generation: string;
  model: string | null;
  coverage: Coverage;
  seq?: number;
}

/** Counts among the documents that a filter keeps (no filter: all); with at most one of text, vector and id, among the best k of those, ranked as in a search. */
export interface FacetsRequest {
  facets: Facet[];
  filter?: null | Filter;
  text?: string | null;
  vector?: number[] | string | null;
  id?: string | null;
  k?: number;
  mode?: "dense" | "hybrid" | "lexical" | "sparse";
  params?: SearchParams | null;
  min_seq?: number | null;
  timeout_ms?: number | null;
  expect?: Expect | null;
}

/** What to count of one field: its most frequent values, or documents a range of numbers or dates. top: so many values. ranges: these. step: ranges of this width beside each other, those that have documents; a number, or for dates a unit. filter: instead of the request's; so the counts beside a field's own choices are not narrowed by what is chosen there. */
export interface Facet {
  field: string;
  top?: number;
  ranges?: FacetRange[] | null;
  step?: number | "day" | "hour" | "month" | "quarter" | "week" | "year" | null;
  filter?: null | Filter;
}

/** gt or gte, lt or lte, one or both, as in a filter. */
export interface FacetRange {
  gt?: number | string | null;
  gte?: number | string | null;
  lt?: number | string | null;
  lte?: number | string | null;
}

/** facets: in the order of the request. count: documents that the request's filter keeps, or the best k of them. */
export interface FacetsAnswer {
  index: string;
  generation: string;
  count: number;
  facets: FacetCounts[];
  usage: Usage;
  took_ms: number;
  seq?: number;
}

/** count: documents that were looked at. present: of them, those that have a value. distinct: how many values there are. values: the most frequent ones, ties in their own order. ranges: in the order of the request, or ascending. */
export interface FacetCounts {
  field: string;
  type: string;
  count: number;
  present: number;
  distinct?: number | null;
  values?: FacetValue[] | null;
  ranges?: CountedRange[] | null;
}

export interface FacetValue {
  value: string | boolean | number;
  count: number;
}

/** Its bounds are those of a condition of a filter, which keeps as many. */
export interface CountedRange {
  count: number;
  gt?: number | string | null;
  gte?: number | string | null;
  lt?: number | string | null;
  lte?: number | string | null;
}

/** Documents by their ids, or by a filter; dry_run: counts them and deletes none. within: a filter; documents that it hides are not there. */
export interface DeleteRequest {
  ids?: string[] | null;
  filter?: null | Filter;
  within?: null | Filter;
  dry_run?: boolean;
  min_seq?: number | null;
  timeout_ms?: number | null;
}

/** deleted: documents that were there; with dry_run, those that would be. */
export interface DeleteAnswer {
  index: string;
  seq: number;
  deleted: number;
  dry_run: boolean;
  took_ms: number;
}

export interface DocumentAnswer {
  index: string;
  generation: string;
  id: string;
  payload: unknown;
}

/** Up to 1,000 documents, each decoded on its own so that a bad one spoils no other. within: a filter; a document that it hides, as it is or as it would be, is not written. */
export interface PutRequest {
  documents: PutDocument[];
  within?: null | Filter;
  timeout_ms?: number | null;
}

/** seq: of the last document written, for the min_seq of a search; all of them are on the disk. failed: documents that were not written, and why. unweighed: of those written, the ones without sparse weights where the index has them, since its sparse model was not to be had: no ranking by them finds these before the next build. */
export interface PutAnswer {
  index: string;
  seq: number;
  written: number;
  took_ms: number;
  failed?: WriteFailure[];
  unweighed?: number;
}

/** place: in the request's list. error: the problem of that document. */
export interface WriteFailure {
  place: number;
  id: string | null;
  error: Problem;
}

/** OpenAI's request for embeddings; user is ignored. Ours are input_type, for models that encode queries and documents differently, and timeout_ms, for all the texts; without it, each 16 of them have the server's. */
export interface EmbeddingsRequest {
  input: string | string[];
  model?: string | null;
  encoding_format?: "base64" | "float" | null;
  dimensions?: number | null;
  user?: string | null;
  input_type?: "document" | "query";
  timeout_ms?: number | null;
}

export interface EmbeddingsAnswer {
  data: Embedding[];
  model: string;
  usage: EmbeddingsUsage;
  object?: string;
}

/** embedding: numbers, or with encoding_format base64 the base64 of little-endian float32 bytes. */
export interface Embedding {
  index: number;
  embedding: number[] | string;
  object?: string;
}

/** cached, which OpenAI does not have: inputs of type query that were not encoded, because their vectors were kept from the last time; absent where it is 0. */
export interface EmbeddingsUsage {
  prompt_tokens: number;
  total_tokens: number;
  cached?: number;
}

export interface ModelList {
  data: ListedModel[];
  object?: string;
}

/** id: what answers call it. created: 0, as its files do not say. names: all that a request may call it. max_tokens: of a text; the rest is cut. */
export interface ListedModel {
  id: string;
  created: number;
  owned_by: string;
  names: string[];
  dimensions: number;
  max_tokens: number;
  object?: string;
}

export interface IndexList {
  indexes: IndexInfo[];
}

/** previous: the generation that a rollback would go to. etag: of the alias on disk, for If-Match. count: of documents, without those that the key hides. model: null when the vectors came without one. modes: of searches that it answers. filterable: the fields that filters may name. refused: why the last reload stayed with the old generation, or null. written_since: of count, those that were put since it was built; 0 for a key that hides some. unweighed: of written_since, those without sparse weights, where the index has them; the next build gives them. id_type: what ids are, which decides how they are sorted: str or int64. shard: which one of a sharded index this is; null for one in one piece, and for all shards together. folder: stands for the one that it lies in: servers of one folder share its log of writes. search: what a search is that says neither mode nor params; null: by meaning, with the default effort. beside: generations that answer those who name them: prepared for a switch, or left a moment ago. replicas: behind a router, how many servers each shard has, in the order of the shards; null elsewhere. originals: drop where vectors are compared, and given out, as their codes restore them, since it was built so; behind a router, where that is so of any shard. */
export interface IndexInfo {
  alias: string;
  generation: string;
  previous: string | null;
  etag: string | null;
  count: number;
  dim: number;
  metric: string;
  family: string;
  default_effort: number;
  target_effort: number;
  model: Model | null;
  recall: Recall | null;
  modes: string[];
  filterable: Record<string, FilterableField>;
  bytes: Bytes;
  kernels: Kernels;
  built_at: string;
  refused: string | null;
  written_since?: number;
  unweighed?: number;
  id_type?: string;
  shard?: ShardPlace | null;
  folder?: string | null;
  search?: SearchByDefault | null;
  beside?: string[];
  replicas?: number[] | null;
  originals?: "drop" | "keep";
}

export interface Model {
  id: string;
  name: string;
  precision: string;
  max_length: number;
}

/** Measured when the generation was built, at its default effort, with the 95 % interval. */
export interface Recall {
  k: number;
  value: number;
  low: number;
  high: number;
  queries: number;
}

/** present: documents that have a value. values: the most frequent ones of a keyword or bool field with their counts, distinct: how many there are in all. min, max: of an int, float or date field. */
export interface FilterableField {
  type: string;
  present?: number | null;
  distinct?: number | null;
  values?: FieldValue[] | null;
  min?: number | string | null;
  max?: number | string | null;
}

export interface FieldValue {
  value: string | boolean;
  count: number;
}

/** files: all of the generation on disk. memory: needed to serve it; vector: of that, for each document. */
export interface Bytes {
  files: number;
  memory: number;
  vector?: number;
}

export interface Kernels {
  arch: string;
  isa: string;
  units: string[];
}

/** rule: says which shard a document belongs to. */
export interface ShardPlace {
  number: number;
  of: number;
  rule: string;
}

/** What a search is that says neither mode nor params, and what it was worth when it was measured. Args: params, rerank: as a request has them. query_encoder: model where texts go through the whole model, else auto. generation: that it was measured on. ndcg: at k, mean of so many judged queries; loss: of it, against the best search that was tried. */
export interface SearchByDefault {
  mode: string;
  generation: string;
  params?: Record<string, unknown>;
  rerank?: Record<string, unknown> | null;
  query_encoder?: string;
  ndcg?: number;
  loss?: number;
  k?: number;
  queries?: number;
  measured_at?: string;
}

/** How many queries to measure with, or the texts themselves; k and filter as in a search. */
export interface RecallRequest {
  queries?: number;
  texts?: string[] | null;
  k?: number;
  filter?: null | Filter;
  params?: RecallParams | null;
  timeout_ms?: number | null;
}

/** effort: as in a search. What is measured is a search by vectors, held against an exact one, so a search's other params have no meaning here. */
export interface RecallParams {
  effort?: number | "target" | null;
}

/** Recall@k of the generation that answers now against an exact search, with the 95 % interval. queries: how many; method: where they came from. ann_ms, exact_ms: of one query, the mean. */
export interface RecallAnswer {
  index: string;
  generation: string;
  k: number;
  effort: number;
  recall: number;
  low: number;
  high: number;
  queries: number;
  method: string;
  survivors: number;
  ann_ms: number;
  exact_ms: number;
  took_ms: number;
}

/** The generation that an alias shall point to. prepare: not yet; the generation is opened and checked, answers those who name it, and a switch to it takes no time. What was prepared before is dropped. */
export interface SwitchRequest {
  generation: string;
  prepare?: boolean;
}

/** source: "changes" (the served generation and what was written since), or a name of the server's configuration. */
export interface RebuildRequest {
  index: string;
  source?: string;
}

/** step: what it is doing: embed, build, check, or what it did last. progress: how far that is, in words for people. generation: what it built. switched: whether that is served. detail: why it failed. */
export interface RebuildAnswer {
  id: string;
  index: string;
  source: string;
  state: "cancelled" | "cancelling" | "failed" | "running" | "succeeded";
  requested_at: string;
  step?: string;
  progress?: string | null;
  ended_at?: string | null;
  generation?: string | null;
  switched?: boolean;
  detail?: string | null;
}

/** The newest first. */
export interface RebuildList {
  rebuilds: RebuildAnswer[];
}

/** since: when the service started, and with it all these numbers. energy: what the joules are: measured, modelled or unknown. energy_of: how they were measured or modelled, or why they are unknown. usd_per_cpu_hour: the price that dollars were counted with. keys: those that have used anything, the dearest first; a key that is not for all sees its own. whole: all of them together, counted apart from the keys; for those who see all. */
export interface UsageAnswer {
  since: string;
  energy: "measured" | "modelled" | "unknown";
  energy_of: string;
  keys: KeyUsage[];
  usd_per_cpu_hour?: number | null;
  whole?: KeyUsage | null;
}

/** What the callers with one key used since the service started. Args: key: its name; "(no key)", "(former keys)" and "(service)" are what no key there is has used. queries: answered, those of a batch each. tokens: of texts, encoded or seen before. vectors_scored: distances computed. cpu_s: processor time of encode, search and payload; of "(service)" all else that its processes did. share: of the processor time of all keys' queries, to divide a bill by; for those who see all keys. joules: joules_low and joules_high are there too where they are modelled. */
export interface KeyUsage {
  key: string;
  queries: number;
  tokens: number;
  vectors_scored: number;
  cpu_s: number;
  share?: number | null;
  joules?: number | null;
  joules_low?: number | null;
  joules_high?: number | null;
  dollars?: number | null;
}

/** payload: a JSON object as hits have it. vector: as in a search; without one the text is encoded, which is `text`, or else the title and text of the payload. */
export interface PutDocument {
  id: string;
  payload?: Record<string, unknown>;
  text?: string | null;
  vector?: number[] | string | null;
}

export interface BatchResult {
  hits: Hit[];
  coverage: Coverage;
  usage: Usage;
  next_cursor?: string | null;
}

export interface BatchFailure {
  error: Problem;
}

/** RFC 9457 problem details; more members may follow, by code. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  code: "bad-json" | "unknown-field" | "invalid-value" | "dimension-mismatch" | "model-mismatch" | "filter-field-not-indexed" | "index-not-found" | "generation-gone" | "document-not-found" | "rebuild-not-found" | "rebuild-running" | "model-not-found" | "unauthenticated" | "forbidden" | "body-too-large" | "unsupported-encoding" | "quota-exceeded" | "overloaded" | "not-ready" | "encoder-unavailable" | "deadline-exceeded" | "precondition-failed" | "insufficient-memory" | "internal";
  detail: string;
  pointer?: string;
  instance?: string;
  error?: Record<string, unknown>;
}

/** A condition on a declared field (eq, in, exists, or a range of int, float or date whose lower bound is not above its upper one), or and, or, not of filters; at most 64 nodes, 6 deep. A document without a value meets no condition but exists: false. */
export type Filter = { field: string; eq: string | number | boolean; } | { field: string; in: (string | number | boolean)[]; } | { field: string; exists: boolean; } | { field: string; gt: string | number; } | { field: string; gt: string | number; lt: string | number; } | { field: string; gt: string | number; lte: string | number; } | { field: string; gte: string | number; } | { field: string; gte: string | number; lt: string | number; } | { field: string; gte: string | number; lte: string | number; } | { field: string; lt: string | number; } | { field: string; lte: string | number; } | { and: Filter[]; } | { or: Filter[]; } | { not: Filter; };

// The search page: what is typed becomes a search after a short pause, and the newest answer wins.
//
// A server with keys is asked with one that the reader types in. It is kept in sessionStorage, so it ends with the tab,
// and it goes nowhere but into the header of our own requests.
//
// Payloads come from whatever was indexed and are not to be trusted: every piece of them reaches the page through
// textContent or a text node, and a link only with http or https.

import { Compare } from "/compare.js";
import { Tools } from "/filters.js";
import { hitElement } from "/hits.js";
import { Manage } from "/manage.js";
import { drawTiming, ms } from "/timing.js";

const LONG = 200; // characters of a query, beyond which it makes no address that anyone could send
const PAUSE_MS = 140; // longer than the gap between two keys of a fluent typist, shorter than anyone waits

const at = (id) => document.getElementById(id);
const query = at("query"), hits = at("hits"), status = at("status"), notice = at("notice"), welcome = at("welcome");
const indexChoice = at("index"), kChoice = at("k"), timing = at("timing"), likeness = at("like");
const further = at("further"), door = at("door"), again = notice.querySelector("button");
const tools = new Tools(at("tools"), () => search(), counted);
const compare = new Compare(at("compare"), async (body) => (await asking(body)).content, alike);
const manage = new Manage(at("manage"), api, () => chosen().alias, (info) => {
  Object.assign(chosen(), info);
  facts();
  search("again");
});
const number = new Intl.NumberFormat("en");

let indexes = [];
let asked = 0; // number of the newest search; an answer to an older one is dropped
let underway = null;
let pause = 0;
let like = null; // {id, title} of the document whose like is searched for, instead of a text
let next = null; // {cursor, body, text} of the hits that follow those that are shown
let retry = null; // what "Try again" does
let uncounted = false; // whether the server has no facets
let settled = true; // whether the address was chosen, and is not a word half typed

const KEY = "perwatt-key"; // in sessionStorage

async function api(path, options) {
  let answer;
  const key = sessionStorage.getItem(KEY);
  try {
    answer = await fetch(path, key ? { ...options, headers: { ...options?.headers, authorization: `Bearer ${key}` } } : options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw { title: "The server does not answer", detail: "Is it still running? The search is tried again when you type.", status: 0 };
  }
  const content = await answer.json().catch(() => ({ title: "The answer cannot be read", detail: `Status ${answer.status}.` }));
  if (!answer.ok) throw { ...content, key };
  return { content, stages: answer.headers.get("server-timing") || "" };
}

// how: "chosen", "typed", or "again" for what the address says already.
async function search(how = "chosen") {
  clearTimeout(pause);
  const text = query.value.trim();
  const number_ = ++asked;
  next = null; // what is shown is not gone on with
  underway?.abort();
  remember(text, how);
  if (!text && !like) {
    waiting(false);
    nothing();
    trouble(null);
    tools.count();
    return;
  }
  if (!indexes.length) return;
  const once = () => search("again");
  const beside = tools.compare && !like;
  document.body.classList.toggle("comparing", beside);
  if (beside) return sideBySide(number_, text, once);
  const asked_ = like ? { id: like.id } : { text };
  const body = { ...asked_, k: Number(kChoice.value), ...tools.request(), cursor: "" };
  await page(number_, body, (content, stages) => {
    const words = like ? "" : text;
    const scale = show(content.hits, words);
    status.textContent = summary(content, content.hits.length);
    if (!content.hits.length) at("empty").textContent = why(content);
    drawTiming(timing, stages, content);
    facts(content.generation);
    follow(content, body, words, scale);
  }, once);
  if (number_ === asked) tools.count();
}

async function sideBySide(number_, text, once) {
  const body = { k: Number(kChoice.value), ...tools.request() };
  await attempt(number_, once, async (current) => {
    const answers = await compare.answers(text, body, chosen().modes, current);
    if (!answers) return;
    show([], text);
    const found = compare.draw(text, answers);
    timing.hidden = further.hidden = true;
    status.textContent = `${found} different ${found === 1 ? "hit" : "hits"}, ranked in ${chosen().modes.length} ways`;
  }, nothing);
  if (number_ === asked) tools.count();
}

// One page of hits, handed to `done` unless something newer was asked meanwhile.
function page(number_, body, done, once) {
  return attempt(number_, once, async (current) => {
    const { content, stages } = await asking(body);
    if (!current()) return;
    done(content, stages);
  }, () => {
    if (!body.cursor) nothing();
    else further.hidden = true;
  });
}

// Work that a newer search ends. failed: what becomes of the hits that are shown; once: as for `trouble`.
async function attempt(number_, once, work, failed) {
  underway = new AbortController();
  waiting(true);
  try {
    await work(() => number_ === asked);
    if (number_ !== asked) return;
    trouble(null);
  } catch (problem) {
    if (problem.name === "AbortError" || number_ !== asked) return;
    failed();
    trouble(problem, once);
  }
  waiting(false);
}

function asking(body, what = "search", signal = underway.signal) {
  return api(`/v1/indexes/${encodeURIComponent(chosen().alias)}/${what}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}

// Counts of facets among what may be a hit: by words that is what has them, by meaning everything. Null where there are
// none, as behind a router.
async function counted(body) {
  const text = query.value.trim();
  const words = text && tools.mode === "lexical" && !like && !tools.compare ? { text, mode: "lexical", k: 10_000 } : {};
  if (uncounted) return null;
  try {
    return (await asking({ ...body, ...words }, "facets", null)).content;
  } catch (problem) {
    uncounted = problem.status === 404;
    return null;
  }
}

// The hits behind those that are shown, appended to them; the first of them gets the focus.
function showMore() {
  if (!next) return;
  const { body, text, scale } = next;
  page(++asked, body, (content, stages) => {
    const place = hits.childElementCount;
    hits.append(...content.hits.map((hit) => hitElement(hit, text, scale, alike)));
    status.textContent = summary(content, hits.childElementCount);
    drawTiming(timing, stages, content);
    follow(content, body, text, scale);
    hits.children[place]?.querySelector("summary").focus();
  }, showMore);
}

function follow(content, body, text, scale) {
  next = content.next_cursor ? { body: { ...body, cursor: content.next_cursor }, text, scale } : null;
  further.hidden = !next;
}

// "10 hits of 7,123 in 4.1 ms · exact"
function summary(answer, count) {
  const of = number.format(answer.coverage.survivors);
  const found = count ? `${count} ${count === 1 ? "hit" : "hits"} of ${of}` : `No hits among ${of}`;
  const { exact, codes } = answer.coverage;
  return `${found} in ${ms(answer.took_ms)} ms` + (exact ? ` · exact${codes ? ", by codes" : ""}` : "");
}

// Why there is nothing, and what would help.
function why(answer) {
  if (!answer.coverage.survivors) return "No document passes these filters together. Take one away, or widen it.";
  return "No document has any of these words. By meaning there is always something nearest.";
}

function nothing() {
  document.body.classList.remove("comparing");
  show([], "");
  status.textContent = "";
  timing.hidden = further.hidden = true;
}

// A hit's neighbours, until the next word is typed.
function alike(hit, title) {
  liken(hit.id, title);
  scrollTo({ top: 0 });
  search();
}

function liken(id, title) {
  like = { id, title };
  tools.lockMode(true);
  likeness.hidden = false;
  likeness.firstElementChild.textContent = `Like “${title}”`;
}

function unlike() {
  like = null;
  likeness.hidden = true;
  tools.lockMode(false);
}

// Returns the score that a full bar stands for, on the pages that follow too.
function show(found, text) {
  const best = found.length ? found[0].score : 0;
  const scale = tools.mode === "dense" || like ? Math.max(best, 1) : best;
  compare.clear();
  hits.replaceChildren(...found.map((hit) => hitElement(hit, text, scale, alike)));
  at("empty").textContent = "";
  welcome.hidden = Boolean(query.value.trim() || like || !indexes.length);
  return scale;
}

// once: what to do again when that may help.
function trouble(problem, once) {
  if (problem?.status === 401) {
    if (problem.key === sessionStorage.getItem(KEY)) ask(problem); // and no other since
    problem = null;
  }
  notice.hidden = !problem;
  if (!problem) return;
  const passing = [0, 429, 503, 504].includes(problem.status);
  retry = passing ? once : null;
  again.hidden = !retry;
  const [title, detail, small] = notice.children;
  title.textContent = problem.title || "Something went wrong";
  detail.textContent = problem.detail || "";
  small.textContent = [problem.code, problem.instance].filter(Boolean).join(" · ");
}

function waiting(yes) {
  document.body.classList.toggle("waiting", yes);
}

// The address bar keeps the search, so that it can be reloaded, bookmarked and sent; a long query, the tab alone. What is
// chosen is a step that "back" undoes, and so is a stretch of typing.
function remember(text, how) {
  const kept = new URLSearchParams();
  const long = text.length > LONG;
  if (text && !long) kept.set("q", text);
  if (indexes.length > 1 && chosen().alias !== indexes[0].alias) kept.set("index", chosen().alias);
  if (kChoice.value !== "10") kept.set("k", kChoice.value);
  if (like) kept.set("like", like.id);
  tools.remember(kept);
  document.title = text ? `${long ? `${text.slice(0, LONG)}…` : text} · perwatt` : "perwatt";
  if (how === "again") return;
  const address = kept.size ? `?${kept}` : location.pathname;
  const state = { q: long ? text : undefined, title: like?.title };
  const same = address === (location.search || location.pathname) && history.state?.q === state.q;
  if (same || (how === "typed" && !settled)) history.replaceState(state, "", address);
  else history.pushState(state, "", address);
  settled = how !== "typed";
}

function recall(kept) {
  unlike();
  indexChoice.value = indexes.some((index) => index.alias === kept.get("index")) ? kept.get("index") : indexes[0].alias;
  kChoice.value = [...kChoice.options].some((option) => option.value === kept.get("k")) ? kept.get("k") : "10";
  tools.show(chosen());
  tools.recall(kept);
  if (kept.get("like")) liken(kept.get("like"), history.state?.title || kept.get("like"));
}

const queryOf = (kept) => kept.get("q") || history.state?.q || "";

addEventListener("popstate", () => {
  const kept = new URLSearchParams(location.search);
  query.value = queryOf(kept);
  settled = true;
  if (!indexes.length) return;
  recall(kept);
  facts();
  search("again");
});

const chosen = () => indexes.find((index) => index.alias === indexChoice.value) || indexes[0];

function facts(generation) {
  const index = chosen();
  if (!index) return;
  const shown = [
    ["index", index.alias],
    ["documents", number.format(index.count)],
    ...(index.written_since ? [["written since it was built", number.format(index.written_since)]] : []),
    ["generation", generation || index.generation, "code"],
    ["model", index.model ? `${index.model.name} · ${index.model.precision}` : "none: bare vectors"],
  ];
  const recall = index.recall;
  if (index.family === "flat") shown.push(["recall", "exact"]);
  else if (recall) {
    const two = (value) => value.toFixed(3);
    shown.push([`recall@${recall.k}`, `${two(recall.value)} (${two(recall.low)} to ${two(recall.high)})`]);
  }
  shown.push(["kernels", index.kernels.isa]);
  at("facts").replaceChildren(...shown.map(([name, value, kind]) => {
    const fact = document.createElement("div");
    const term = document.createElement("dt");
    const what = document.createElement("dd");
    term.textContent = name;
    what.textContent = value;
    if (kind) what.className = kind;
    fact.append(term, what);
    return fact;
  }));
  at("what").textContent = index.model
    ? `Search ${number.format(index.count)} documents of ${index.alias} by what they mean.`
    : `${index.alias} was built from bare vectors, without a model to read words with. Search it over HTTP with a vector or an id.`;
}

// keys: "/" to the query, arrows or j and k over the hits, Enter opens (a summary does that by itself), Esc back
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const here = document.activeElement;
  if (here === indexChoice || here === kChoice || here?.closest(".tools, .told, .like, .door, .notice, .further, .compare, footer")) return;
  const heads = [...hits.querySelectorAll("summary")];
  const place = heads.findIndex((head) => head.parentElement.contains(here));
  const typing = here === query;
  const go = (target) => {
    event.preventDefault();
    target?.focus();
    target?.scrollIntoView({ block: "nearest" });
  };
  if (event.key === "/" && !typing) {
    go(query);
    query.select();
  } else if (event.key === "Escape") {
    event.preventDefault();
    if (!typing) go(query);
    else if (query.value) {
      query.value = "";
      search();
    }
  } else if (event.key === "ArrowDown" || (event.key === "j" && !typing)) {
    if (heads.length && (typing || place >= 0 || event.key === "j")) go(heads[Math.min(place + 1, heads.length - 1)]);
  } else if ((event.key === "ArrowUp" || event.key === "k") && !typing && place >= 0) {
    go(place === 0 ? query : heads[place - 1]);
  }
});

query.addEventListener("input", () => {
  unlike();
  clearTimeout(pause);
  pause = setTimeout(() => search("typed"), query.value.trim() ? PAUSE_MS : 0);
});
at("search").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
likeness.lastElementChild.addEventListener("click", () => {
  unlike();
  query.focus();
  search();
});
indexChoice.addEventListener("change", () => {
  unlike();
  tools.show(chosen());
  facts();
  manage.another();
  search();
});
kChoice.addEventListener("change", () => search());

again.addEventListener("click", () => retry?.());
further.firstElementChild.addEventListener("click", showMore);

// The door: a field for the key, instead of everything that would need one.
function ask(problem) {
  const had = sessionStorage.getItem(KEY);
  if (!had && !door.hidden) return; // it is open, and a key may be half typed
  sessionStorage.removeItem(KEY);
  nothing();
  document.body.classList.add("locked");
  door.hidden = false;
  door.classList.toggle("refused", Boolean(had));
  if (had) at("door-why").textContent = problem.detail || "This key does not open it.";
  at("key").value = "";
  at("key").focus();
}

door.addEventListener("submit", (event) => {
  event.preventDefault();
  const key = at("key").value.trim();
  if (!key) return;
  if (/^[\x21-\x7e]+$/.test(key)) {
    sessionStorage.setItem(KEY, key);
    start();
  } else {
    sessionStorage.setItem(KEY, "?");
    ask({ detail: "A key has letters, digits and _ only; this is something else." });
  }
});
at("forget").addEventListener("click", () => {
  sessionStorage.removeItem(KEY);
  location.reload();
});

async function start() {
  const kept = new URLSearchParams(location.search); // what the address says, before anything else is remembered in it
  try {
    indexes = (await api("/v1/indexes")).content.indexes;
    indexes.sort((a, b) => Number(!a.model) - Number(!b.model)); // those that words can search come first
    if (!indexes.length) throw { detail: "No index that is served here is open to this key.", status: 403 };
  } catch (problem) {
    if (problem.status === 403 && sessionStorage.getItem(KEY)) ask(problem); // right, and of no use here
    else trouble(problem, start);
    return;
  }
  const keyed = Boolean(sessionStorage.getItem(KEY));
  at("forget").hidden = !keyed;
  at("paths").hidden = keyed; // a link carries no key
  trouble(null);
  door.hidden = true;
  document.body.classList.remove("locked");
  indexChoice.replaceChildren(...indexes.map((index) => new Option(index.alias)));
  at("index-choice").hidden = indexes.length < 2;
  if (!query.value) query.value = queryOf(kept); // who typed before the indexes were known is not interrupted
  recall(kept);
  facts();
  welcome.hidden = Boolean(query.value.trim() || like);
  if (document.activeElement === document.body || document.activeElement === at("key")) query.focus();
  if (query.value.trim() || like) search(query.value.trim() === queryOf(kept) ? "again" : "typed");
}

start();

// The search page: what is typed becomes a search after a short pause, and the newest answer wins.
//
// Payloads come from whatever was indexed and are not to be trusted: every piece of them reaches the page through
// textContent or a text node, and a link only with http or https.

import { Tools } from "/filters.js";
import { hitElement } from "/hits.js";
import { drawTiming, ms } from "/timing.js";

const PAUSE_MS = 140; // longer than the gap between two keys of a fluent typist, shorter than anyone waits

const at = (id) => document.getElementById(id);
const query = at("query"), hits = at("hits"), status = at("status"), notice = at("notice"), welcome = at("welcome");
const indexChoice = at("index"), kChoice = at("k"), timing = at("timing"), likeness = at("like");
const tools = new Tools(at("tools"), () => search());
const number = new Intl.NumberFormat("en");

let indexes = [];
let asked = 0; // number of the newest search; an answer to an older one is dropped
let underway = null;
let pause = 0;
let like = null; // {id, title} of the document whose like is searched for, instead of a text

async function api(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw { title: "The server does not answer", detail: "Is it still running? The search is tried again when you type." };
  }
  const content = await answer.json().catch(() => ({ title: "The answer cannot be read", detail: `Status ${answer.status}.` }));
  if (!answer.ok) throw content;
  return { content, stages: answer.headers.get("server-timing") || "" };
}

async function search() {
  clearTimeout(pause);
  const text = query.value.trim();
  const number_ = ++asked;
  underway?.abort();
  remember(text);
  if (!text && !like) {
    waiting(false);
    nothing();
    trouble(null);
    return;
  }
  if (!indexes.length) return;
  underway = new AbortController();
  waiting(true);
  try {
    const asked_ = like ? { id: like.id } : { text };
    const { content, stages } = await api(`/v1/indexes/${encodeURIComponent(chosen().alias)}/search`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...asked_, k: Number(kChoice.value), ...tools.request() }),
      signal: underway.signal,
    });
    if (number_ !== asked) return;
    trouble(null);
    show(content.hits, like ? "" : text);
    status.textContent = summary(content);
    drawTiming(timing, stages, content);
    facts(content.generation);
  } catch (problem) {
    if (problem.name === "AbortError" || number_ !== asked) return;
    nothing();
    trouble(problem);
  }
  waiting(false);
}

// "10 hits of 7,123 in 4.1 ms · exact"
function summary(answer) {
  const of = number.format(answer.coverage.survivors);
  const count = answer.hits.length;
  const found = count ? `${count} ${count === 1 ? "hit" : "hits"} of ${of}` : `No hits among ${of}`;
  return `${found} in ${ms(answer.took_ms)} ms` + (answer.coverage.exact ? " · exact" : "");
}

function nothing() {
  show([], "");
  status.textContent = "";
  timing.hidden = true;
}

// A hit's neighbours, until the next word is typed.
function alike(hit, title) {
  like = { id: hit.id, title };
  tools.lockMode(true);
  likeness.hidden = false;
  likeness.firstElementChild.textContent = `Like “${title}”`;
  scrollTo({ top: 0 });
  search();
}

function unlike() {
  like = null;
  likeness.hidden = true;
  tools.lockMode(false);
}

function show(found, text) {
  const best = found.length ? found[0].score : 0;
  const scale = tools.mode === "dense" || like ? Math.max(best, 1) : best;
  hits.replaceChildren(...found.map((hit) => hitElement(hit, text, scale, alike)));
  welcome.hidden = Boolean(query.value.trim() || like);
}

function trouble(problem) {
  notice.hidden = !problem;
  if (!problem) return;
  const [title, detail, small] = notice.children;
  title.textContent = problem.title || "Something went wrong";
  detail.textContent = problem.detail || "";
  small.textContent = [problem.code, problem.instance].filter(Boolean).join(" · ");
}

function waiting(yes) {
  document.body.classList.toggle("waiting", yes);
}

// The address bar keeps the search, so that it can be reloaded, bookmarked and sent.
function remember(text) {
  const kept = new URLSearchParams();
  if (text) kept.set("q", text);
  if (indexes.length > 1 && chosen().alias !== indexes[0].alias) kept.set("index", chosen().alias);
  if (kChoice.value !== "10") kept.set("k", kChoice.value);
  if (like) kept.set("like", like.id);
  tools.remember(kept);
  const address = kept.size ? `?${kept}` : location.pathname;
  history.replaceState(null, "", address);
  document.title = text ? `${text} · perwatt` : "perwatt";
}

function recall() {
  const kept = new URLSearchParams(location.search);
  query.value = kept.get("q") || "";
  if (indexes.some((index) => index.alias === kept.get("index"))) indexChoice.value = kept.get("index");
  if ([...kChoice.options].some((option) => option.value === kept.get("k"))) kChoice.value = kept.get("k");
  tools.show(chosen());
  tools.recall(kept);
  if (kept.get("like")) alike({ id: kept.get("like") }, kept.get("like"));
}

const chosen = () => indexes.find((index) => index.alias === indexChoice.value) || indexes[0];

function facts(generation) {
  const index = chosen();
  const shown = [
    ["index", index.alias],
    ["documents", number.format(index.count)],
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
  if (here === indexChoice || here === kChoice || here?.closest(".tools, .told, .like")) return;
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
  pause = setTimeout(search, query.value.trim() ? PAUSE_MS : 0);
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
  search();
});
kChoice.addEventListener("change", search);

async function start() {
  try {
    indexes = (await api("/v1/indexes")).content.indexes;
    indexes.sort((a, b) => Number(!a.model) - Number(!b.model)); // those that words can search come first
  } catch (problem) {
    trouble(problem);
    return;
  }
  indexChoice.replaceChildren(...indexes.map((index) => new Option(index.alias)));
  at("index-choice").hidden = indexes.length < 2;
  recall();
  facts();
  welcome.hidden = Boolean(query.value.trim() || like);
  if (document.activeElement === document.body) query.focus();
  if (query.value.trim()) search();
}

start();

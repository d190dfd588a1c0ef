// One hit as a list item: title, score, a piece of the text with the query's words marked, where it came from; opened, the
// whole payload. The corpus is unknown, so fields are recognised by their usual names and shown under their own otherwise.

import { made, shownJson, shownNumber, spoken } from "/values.js";

const TITLES = ["title", "name", "heading", "headline", "subject", "label"];
const TEXTS = ["text", "body", "content", "abstract", "description", "summary", "doc", "docstring", "snippet"];
const CODE = ["id", "name", "file", "path", "signature", "module"];
const LINKS = ["url", "link", "href", "uri"];
const SNIPPET = 260; // characters: three lines at the page's width
const FACTS = 5;
const COMMON = new Set(("a an and are as at be by can do does for from has have how i if in into is it its my of on or "
  + "that the this to was what when where which who why will with you your").split(" "));

export function hitElement(hit, query, scale, alike) {
  const payload = hit.payload || {};
  const used = new Set();
  const take = (names) => {
    const name = names.find((one) => typeof payload[one] === "string" && payload[one].trim() && !used.has(one));
    if (name) used.add(name);
    return name;
  };
  const titleField = take(TITLES);
  const textField = take(TEXTS) || longest(payload, used);
  const text = textField ? squeeze(payload[textField]) : "";
  const words = terms(query);
  let title = titleField ? squeeze(payload[titleField]) : "";
  if (titleField === "title" && typeof payload.name === "string" && squeeze(payload.name) === title) used.add("name");
  let body = text;
  if (!title) {
    title = text ? firstSentence(text) : hit.id;
  }
  if (body.startsWith(title)) body = body.slice(title.length).replace(/^[\s.:;,–—-]+/, "");

  const head = made("div", "head");
  const heading = spoken(made("h2", looksLikeCode(title) ? "code" : ""));
  marked(heading, title, words);
  head.append(heading, score(hit, scale));

  const summary = made("summary");
  summary.append(head);
  if (body) {
    const snippet = spoken(made("p", "snippet"));
    marked(snippet, excerpt(body, words), words);
    summary.append(snippet);
  }
  const from = provenance(hit, payload, used, textField);
  let named = hit.id === title; // whether the id can be seen without opening
  if (!from.childElementCount && !named) {
    from.append(piece(hit.id, "code", "id"));
    named = true;
  }
  if (from.childElementCount) summary.append(from);
  summary.addEventListener("click", (event) => {
    if (event.target.closest("a")) return;
    if (!getSelection().isCollapsed && event.detail) event.preventDefault(); // somebody is selecting text, not opening
  });

  const details = made("details");
  details.append(summary);
  details.addEventListener("toggle", () => {
    if (details.open && details.childElementCount === 1) details.append(everything(hit, payload, words, named), more(hit, title, alike));
  });
  const item = made("li");
  item.append(details);
  return item;
}

// The bar is the share of the best a hit can have: 1 for a cosine, the first hit's score otherwise.
function score(hit, scale) {
  const shown = made("span", "score");
  const { score: value, scores } = hit;
  shown.textContent = scores ? value.toFixed(4) : value.toFixed(3);
  shown.title = scores
    ? ["fused from", scores.dense !== undefined && `meaning ${scores.dense.toFixed(3)}`,
      scores.lexical !== undefined && `words ${scores.lexical.toFixed(2)}`,
      scores.sparse !== undefined && `sparse ${scores.sparse.toFixed(2)}`].filter(Boolean).join(" · ")
    : `score ${value.toFixed(5)}`;
  if (value >= 0 && scale > 0) {
    const bar = made("i");
    bar.style.width = `${Math.round((100 * value) / scale)}%`;
    shown.append(bar);
  }
  return shown;
}

function piece(value, kind, name) {
  const shown = spoken(made("span", kind));
  if (name) {
    const label = made("b");
    label.textContent = `${name} `;
    shown.append(label);
  }
  shown.append(value);
  return shown;
}

// url · module · file:line · then other short fields under their own names
function provenance(hit, payload, used, textField) {
  const from = made("div", "from");
  const add = (...what) => from.append(piece(...what));
  const link = LINKS.find((name) => typeof payload[name] === "string" && payload[name]);
  if (link) {
    used.add(link);
    from.append(anchor(payload[link]));
  }
  for (const name of ["kind", "module"]) {
    if (typeof payload[name] === "string" && payload[name]) {
      used.add(name);
      add(payload[name], name === "module" ? "code" : "");
    }
  }
  const file = typeof payload.file === "string" ? "file" : typeof payload.path === "string" ? "path" : "";
  if (file && payload[file]) {
    used.add(file).add("line");
    const line = Number.isInteger(payload.line) ? `:${payload.line}` : "";
    add(payload[file].split("/").slice(-2).join("/") + line, "code");
    from.lastChild.title = payload[file] + line;
  }
  let left = FACTS - from.childElementCount;
  for (const [name, value] of Object.entries(payload)) {
    const short = typeof value === "number" || typeof value === "boolean" || (typeof value === "string" && value && value.length <= 60);
    if (left <= 0) break;
    if (!short || used.has(name) || name === textField || TITLES.includes(name) || name === "signature") continue;
    if (isId(hit, name, value)) continue;
    add(typeof value === "number" ? shownNumber(value) : String(value), "", name);
    left -= 1;
  }
  return from;
}

// A field that repeats the document's id.
const isId = (hit, name, value) => name === "id" && String(value) === hit.id;

// The whole payload, a field a row, in its own order; values that are not text as JSON. The id, unless it is
// named above.
function everything(hit, payload, words, named) {
  const list = made("dl", "payload");
  const add = (name, value) => {
    const term = made("dt");
    term.textContent = name;
    const written = typeof value === "string";
    const text = written ? value : shownJson(value);
    const prose = written && !CODE.includes(name);
    const what = made("dd", prose ? "" : "code");
    if (written) spoken(what);
    if (typeof value === "string" && LINKS.includes(name)) what.append(anchor(value));
    else marked(what, text, prose ? words : []);
    list.append(term, what);
  };
  if (!named) add("id", hit.id);
  for (const [name, value] of Object.entries(payload)) if (!isId(hit, name, value)) add(name, value);
  return list;
}

function more(hit, title, alike) {
  const button = made("button", "more");
  button.type = "button";
  button.textContent = "More like this";
  button.addEventListener("click", () => alike(hit, title));
  return button;
}

function anchor(address) {
  let url = null;
  try {
    url = new URL(address);
  } catch { /* not an address: shown as text */ }
  const web = url && (url.protocol === "https:" || url.protocol === "http:");
  const piece = made(web ? "a" : "span");
  piece.textContent = web ? url.host + (url.pathname === "/" ? "" : url.pathname) : address;
  if (web) {
    piece.href = url.href;
    piece.rel = "noopener noreferrer nofollow";
    piece.target = "_blank";
  }
  return piece;
}

// The words of the query worth marking; those of other languages and scripts too.
function terms(query) {
  const words = query.toLowerCase().match(/[\p{L}\p{N}_]+/gu) || [];
  return words.filter((word) => word.length > 1 && !COMMON.has(word));
}

// "compress" marks compressed and compression, and "files" marks file: one is a beginning of the other, or both share a
// stem of at least four letters that makes up most of the shorter one.
function matches(word, wanted) {
  const lower = word.toLowerCase();
  return wanted.some((term) => {
    if (lower === term) return true;
    let same = 0;
    while (same < lower.length && same < term.length && lower[same] === term[same]) same += 1;
    return same >= 4 && same >= 0.75 * Math.max(Math.min(lower.length, term.length), same) && same >= 0.55 * Math.max(lower.length, term.length);
  });
}

function marked(into, text, wanted) {
  let plain = 0;
  if (wanted.length) {
    for (const found of text.matchAll(/[\p{L}\p{N}]+/gu)) {
      if (!matches(found[0], wanted)) continue;
      into.append(text.slice(plain, found.index));
      const mark = made("mark");
      mark.textContent = found[0];
      into.append(mark);
      plain = found.index + found[0].length;
    }
  }
  into.append(text.slice(plain));
}

// The stretch of the text with the most different words of the query, from a word's beginning.
function excerpt(text, wanted) {
  if (text.length <= SNIPPET) return text;
  const places = [];
  for (const found of text.slice(0, 20000).matchAll(/[\p{L}\p{N}]+/gu)) {
    if (matches(found[0], wanted)) places.push([found.index, found[0].toLowerCase().slice(0, 5)]);
  }
  let start = 0;
  let most = 0;
  for (const [index] of places) {
    const from = Math.max(0, index - 60);
    const inside = new Set(places.filter(([other]) => other >= from && other < from + SNIPPET).map(([, word]) => word));
    if (inside.size > most) [most, start] = [inside.size, from];
  }
  if (start < 80) start = 0;
  if (start > 0) start = text.indexOf(" ", start) + 1;
  const end = start + SNIPPET >= text.length ? text.length : text.lastIndexOf(" ", start + SNIPPET);
  return (start > 0 ? "… " : "") + text.slice(start, end > start ? end : start + SNIPPET) + (end < text.length ? " …" : "");
}

function longest(payload, used) {
  let name;
  for (const [field, value] of Object.entries(payload)) {
    if (typeof value === "string" && !used.has(field) && !LINKS.includes(field) && value.length > (name ? payload[name].length : 40)) name = field;
  }
  return name;
}

function firstSentence(text) {
  const sentence = text.slice(0, 300).match(/^.{20,}?[.!?。](?=\s|$)/u);
  if (sentence && sentence[0].length <= 120) return sentence[0];
  return text.length <= 90 ? text : `${text.slice(0, text.lastIndexOf(" ", 90) > 40 ? text.lastIndexOf(" ", 90) : 90)}…`;
}

const looksLikeCode = (title) => /^[\w.]+(\(.*\))?$/.test(title) && /[._(]/.test(title);
const squeeze = (text) => text.replace(/\s+/g, " ").trim();

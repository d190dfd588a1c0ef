// Where the time of an answer went: a bar with a piece for each stage, and behind it what each stage is. The stages are
// those of the Server-Timing header; what they leave of took_ms is decoding, waiting for a turn and writing the answer.

import { made } from "/values.js";

const STAGES = {
  filter: ["filter", "the rows that survive the filter, as a bitmap"],
  embed: ["encode", "the text becomes a vector; the model runs here"],
  ann: ["search", "nearest vectors are found and compared again exactly"],
  lexical: ["words", "documents with the words, by BM25"],
  payload: ["payload", "the hits are fetched from the file"],
  rest: ["rest", "request read, turn waited for, answer written"],
};

export const ms = (value) => (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2));

// [[stage, ms]] in the order of the path, and the rest.
export function stagesOf(header, tookMs) {
  const stages = [...header.matchAll(/(\w+);dur=([\d.]+)/g)]
    .map(([, stage, duration]) => [stage, Number(duration)])
    .filter(([stage]) => stage in STAGES && stage !== "rest");
  const rest = tookMs - stages.reduce((sum, [, duration]) => sum + duration, 0);
  return rest > 0 ? [...stages, ["rest", rest]] : stages;
}

export function drawTiming(place, header, answer) {
  const stages = stagesOf(header, answer.took_ms);
  const total = stages.reduce((sum, [, duration]) => sum + duration, 0) || 1;
  const bar = made("div", "bar");
  const list = made("dl");
  for (const [stage, duration] of stages) {
    const [name, what] = STAGES[stage];
    const piece = made("i");
    piece.dataset.stage = stage;
    piece.style.flexGrow = String(Math.max(duration / total, 0.004));
    bar.append(piece);
    const row = made("div");
    const term = made("dt", "", name);
    term.dataset.stage = stage;
    row.append(term, made("dd", "ms", `${ms(duration)} ms`), made("dd", "what", what));
    list.append(row);
  }
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", stages.map(([stage, duration]) => `${STAGES[stage][0]} ${ms(duration)} ms`).join(", "));
  const { usage } = answer;
  const sentence = [
    usage.vectors_scored ? `${usage.vectors_scored.toLocaleString("en")} vectors compared` : "",
    usage.tokens ? `${usage.tokens} tokens read` : "",
    `${ms(usage.cpu_ms)} ms of processor time`,
  ].filter(Boolean).join(" · ");
  const summary = made("summary");
  summary.title = "Where the time went";
  summary.append(bar);
  const open = place.querySelector("details")?.open || false;
  const details = made("details");
  details.open = open;
  details.append(summary, list, made("p", "", sentence));
  place.replaceChildren(details);
  place.hidden = false;
}

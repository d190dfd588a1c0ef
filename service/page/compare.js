// The same words ranked by meaning, by words and by both, side by side, with what each of the three queries cost. They are
// asked one after the other, so that none waits for another and the times are their own.

import { hitElement } from "/hits.js";
import { MODES } from "/filters.js";
import { ms } from "/timing.js";
import { made } from "/values.js";

const number = new Intl.NumberFormat("en");

export class Compare {
  // ask: a search, which is told a body and gives the answer; alike: what "More like this" does
  constructor(place, ask, alike) {
    Object.assign(this, { place, ask, alike });
  }

  // The answers by mode; null when `current` says that they are not wanted any more.
  async answers(text, body, modes, current) {
    const found = new Map();
    for (const mode of modes) {
      found.set(mode, await this.ask({ ...body, text, mode }));
      if (!current()) return null;
    }
    return found;
  }

  clear() {
    this.place.replaceChildren();
    this.place.hidden = true;
  }

  // Returns how many different hits there are in all.
  draw(text, answers) {
    const modes = [...answers.keys()];
    const cheapest = Math.min(...modes.map((mode) => answers.get(mode).usage.cpu_ms)) || 1;
    const ranks = new Map(modes.map((mode) => [mode, new Map(answers.get(mode).hits.map(({ id }, place) => [id, place + 1]))]));
    this.place.replaceChildren(...modes.map((mode) => {
      const { hits, usage, took_ms } = answers.get(mode);
      const column = made("section", "column");
      const heading = made("h2", "", MODES[mode]);
      heading.id = `by-${mode}`;
      column.setAttribute("aria-labelledby", heading.id);
      const times = usage.cpu_ms / cheapest;
      const cost = made("p", "cost");
      cost.append(made("b", "", `${ms(usage.cpu_ms)} ms of processor time`), times >= 1.05 ? ` · ${times.toFixed(1)} × the cheapest` : "");
      const more = [`answered in ${ms(took_ms)} ms`, usage.vectors_scored && `${number.format(usage.vectors_scored)} vectors compared`];
      const list = made("ol");
      list.setAttribute("aria-labelledby", heading.id);
      list.append(...hits.map((hit) => {
        const item = hitElement(hit, text, mode === "dense" ? Math.max(1, hits[0].score) : hits[0].score, this.alike);
        const others = modes.filter((other) => other !== mode).map((other) => [other, ranks.get(other).get(hit.id)]);
        const said = others.map(([other, rank]) => `${MODES[other]} ${rank ? `№ ${rank}` : "–"}`).join(" · ");
        const elsewhere = made("p", "elsewhere", said);
        elsewhere.classList.toggle("alone", others.every(([, rank]) => !rank));
        item.querySelector("summary").append(elsewhere);
        return item;
      }));
      column.append(heading, cost, made("p", "cost", more.filter(Boolean).join(" · ")), list);
      if (!hits.length) column.append(made("p", "cost", "No document has any of these words."));
      return column;
    }));
    this.place.hidden = false;
    return new Set([...ranks.values()].flatMap((each) => [...each.keys()])).size;
  }
}

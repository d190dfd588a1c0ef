// What narrows a search: how it ranks, which documents may be hits, one hit a group. Built from the fields that the index
// declares; an index without any shows none of it. Values come from the corpus and reach the page as text only.

import { countedBy, drawCounts, drawSpread } from "/facets.js";
import { made, shownNumber, spoken } from "/values.js";

const number = new Intl.NumberFormat("en");
export const MODES = { dense: "Meaning", lexical: "Words", sparse: "Sparse", hybrid: "Both" };
const HINTS = {
  dense: "Ranks by what the text means",
  lexical: "Ranks by the words that occur (BM25)",
  sparse: "Ranks by the weights that a sparse model gave documents",
  hybrid: "Fuses meaning and words, place by place",
};

export class Tools {
  // counted: asks for facets of the index, of what is typed where words alone decide
  constructor(place, changed, counted) {
    this.place = place;
    this.changed = changed;
    this.counted = counted;
    this.counting = 0; // number of the newest question for counts
    this.index = null;
    this.clear();
    document.addEventListener("click", (event) => this.close(event.target));
    place.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      const open = place.querySelector("details[open]");
      if (!open) return;
      event.stopPropagation();
      open.open = false;
      open.firstElementChild.focus();
    });
  }

  clear() {
    this.mode = "dense";
    this.compare = false; // all modes side by side
    this.group = "";
    this.chosen = {}; // field → {in: […]} or {gte, lte}
  }

  // The index that is searched from now on. What was chosen for another one does not fit it.
  show(index) {
    if (this.index?.alias !== index.alias) this.clear();
    this.index = index;
    this.draw();
  }

  // The part of a search request that is decided here.
  request() {
    const asked = {};
    if (this.mode !== "dense") asked.mode = this.mode;
    if (this.group) asked.group_by = this.group;
    return { ...asked, ...this.filter() };
  }

  // What is chosen, but for one field: the counts beside its choices are not narrowed by them.
  filter(but) {
    const chosen = Object.entries(this.chosen).filter(([field]) => field !== but);
    const conditions = chosen.map(([field, condition]) => ({ field, ...condition }));
    if (!conditions.length) return {};
    return { filter: conditions.length > 1 ? { and: conditions } : conditions[0] };
  }

  // Counts of the menu that is open, for what is searched now. Without an answer those of the index stay.
  async count() {
    const pill = this.place.querySelector("details.pill[open]");
    if (!pill) return;
    const number_ = ++this.counting, name = pill.dataset.field, field = this.index.filterable[name];
    const facet = countedBy(name, field);
    const found = facet && (await this.counted({ facets: [facet], ...this.filter(name) }));
    if (!found || number_ !== this.counting || !pill.isConnected) return;
    const [counts] = found.facets;
    if (counts.values) drawCounts(pill.querySelector("ul"), counts, (value) => this.choice(name, value));
    else drawSpread(pill.querySelector(".spread"), counts, facet.step, this.chosen[name], (range) => this.span(pill, range));
  }

  remember(address) {
    if (this.mode !== "dense") address.set("mode", this.mode);
    if (this.compare) address.set("compare", "1");
    if (this.group) address.set("group", this.group);
    if (Object.keys(this.chosen).length) address.set("filter", JSON.stringify(this.chosen));
  }

  recall(address) {
    const fields = this.index.filterable;
    this.clear();
    this.compare = this.index.modes.length > 1 && address.get("compare") === "1";
    if (this.index.modes.includes(address.get("mode"))) this.mode = address.get("mode");
    if (groupable(fields[address.get("group")])) this.group = address.get("group");
    try {
      for (const [field, condition] of Object.entries(JSON.parse(address.get("filter") || "{}"))) {
        if (fields[field]) this.chosen[field] = condition;
      }
    } catch {
      // an address that was cut short: search without it
    }
    this.draw();
  }

  // A search by document has no words to rank by.
  lockMode(locked) {
    if (locked === Boolean(this.locked)) return;
    if (locked) [this.before, this.mode] = [this.mode, "dense"];
    else this.mode = this.before;
    this.locked = locked;
    this.draw();
  }

  close(target) {
    for (const open of this.place.querySelectorAll("details[open]")) if (!open.contains(target)) open.open = false;
  }

  draw() {
    const opened = this.place.querySelector("details[open]")?.dataset.field;
    const ranking = made("div"), filters = made("div"); // a row each where they do not fit beside each other
    if (this.index.modes.length > 1) ranking.append(this.modes(), this.comparing());
    const fields = Object.entries(this.index.filterable).filter(([, field]) => field.present !== 0);
    const groups = fields.filter(([, field]) => groupable(field)).map(([name]) => name);
    if (groups.length) ranking.append(this.groups(groups));
    if (fields.length) filters.append(...fields.map(([name, field]) => this.pill(name, field)), this.reset());
    const parts = [ranking, filters].filter((part) => part.childElementCount);
    this.place.replaceChildren(...parts);
    this.place.hidden = !parts.length;
    const again = [...this.place.querySelectorAll("details")].find((one) => one.dataset.field === opened);
    if (opened && again) again.open = true;
  }

  modes() {
    const set = made("fieldset", "modes");
    set.append(made("legend", "unseen", "Rank by"));
    for (const mode of this.index.modes) {
      const label = made("label", "", MODES[mode]);
      const choice = made("input");
      choice.type = "radio";
      choice.name = "mode";
      choice.value = mode;
      choice.checked = this.mode === mode;
      choice.disabled = Boolean(this.locked) && mode !== "dense";
      label.title = choice.disabled ? "A document is compared by meaning" : HINTS[mode];
      choice.addEventListener("change", () => {
        this.mode = mode;
        this.compare = false;
        this.place.querySelector(".beside").setAttribute("aria-pressed", "false");
        this.changed();
      });
      label.prepend(choice);
      set.append(label);
    }
    return set;
  }

  comparing() {
    const button = made("button", "beside", "Compare");
    button.type = "button";
    button.title = "All three rankings side by side, and what each costs";
    button.disabled = Boolean(this.locked);
    button.setAttribute("aria-pressed", String(this.compare));
    button.addEventListener("click", () => {
      this.compare = !this.compare;
      button.setAttribute("aria-pressed", String(this.compare));
      this.changed();
    });
    return button;
  }

  pill(name, field) {
    const pill = made("details", "pill");
    pill.dataset.field = name;
    const head = made("summary");
    head.append(spoken(made("span", "name", name)), spoken(made("span", "value")));
    const menu = made("div", "menu");
    menu.append(...(RANGED.has(field.type) ? this.range(name, field) : this.values(name, field)));
    pill.append(head, menu);
    pill.addEventListener("toggle", () => pill.open && this.count());
    this.mark(pill, name);
    return pill;
  }

  // Whether a field narrows the search is shown on its pill; the controls under it stay as they are, and keep the focus.
  mark(pill, name) {
    const chosen = this.chosen[name];
    pill.classList.toggle("on", Boolean(chosen));
    const value = pill.querySelector(".value");
    value.textContent = chosen ? said(chosen) : "";
    value.hidden = !chosen;
  }

  values(name, field) {
    const list = made("ul");
    const known = field.values || (field.type === "bool" ? [{ value: true }, { value: false }] : []);
    const typed = (this.chosen[name]?.in || []).filter((value) => !known.some((one) => one.value === value));
    for (const { value, count } of [...known, ...typed.map((value) => ({ value }))]) list.append(this.choice(name, value, count));
    if (field.type === "bool") return [list];
    const rest = field.values ? field.distinct - field.values.length : -1;
    return rest === 0 ? [list] : [list, this.another(name, list, rest)];
  }

  choice(name, value, count) {
    const label = made("label");
    const box = made("input");
    box.type = "checkbox";
    box.checked = Boolean(this.chosen[name]?.in?.includes(value));
    box.addEventListener("change", () => {
      const kept = new Set(this.chosen[name]?.in || []);
      if (box.checked) kept.add(value);
      else kept.delete(value);
      this.choose(name, kept.size ? { in: [...kept] } : null);
    });
    label.append(box, spoken(made("span", "", typeof value === "boolean" ? (value ? "yes" : "no") : value || "(empty)")));
    label.append(made("small", "", count === undefined ? "" : number.format(count)));
    const item = made("li");
    item.value_ = value;
    item.append(label);
    return item;
  }

  // A value that is not listed can be typed. rest: how many there are, −1 when that is not told.
  another(name, list, rest) {
    const label = made("label", "another", rest > 0 ? `${number.format(rest)} rarer ones, by name` : "by name");
    const input = spoken(made("input"));
    input.type = "text";
    input.maxLength = 1024;
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      const value = input.value;
      if (!value) return;
      input.value = "";
      const there = [...list.children].find((item) => item.value_ === value);
      if (!there) list.append(this.choice(name, value));
      const box = (there || list.lastElementChild).querySelector("input");
      if (!box.checked) box.click();
      else input.focus();
    });
    label.append(input);
    return label;
  }

  range(name, field) {
    const spread = made("ul", "spread");
    spread.setAttribute("aria-label", "Documents by range");
    return [...[["gte", "from", field.min], ["lte", "to", field.max]].map(([bound, word, edge]) => {
      const label = made("label", "bound", word);
      const input = made("input");
      const date = field.type === "date";
      input.type = date ? "date" : "number";
      if (!date) {
        input.step = field.type === "int" ? "1" : "any";
        if (edge !== undefined) input.placeholder = shownNumber(edge);
      } else if (/^\d{4}-/.test(edge || "")) {
        input.min = field.min.slice(0, 10);
        input.max = field.max.slice(0, 10);
      }
      input.dataset.bound = bound;
      shownBound(input, this.chosen[name]);
      input.addEventListener("change", () => {
        const kept = { ...this.chosen[name] };
        delete kept[bound];
        if (bound === "lte") delete kept.lt;
        if (input.value && input.checkValidity()) {
          // The day that a range ends with belongs to it.
          kept[bound] = date ? input.value + (bound === "lte" ? "T23:59:59.999999Z" : "T00:00:00Z") : Number(input.value);
        }
        this.choose(name, Object.keys(kept).length ? kept : null);
      });
      label.append(input);
      return label;
    }), spread];
  }

  // A range of the spread is chosen; the fields above it show what that means.
  span(pill, range) {
    for (const input of pill.querySelectorAll("[data-bound]")) shownBound(input, range);
    this.choose(pill.dataset.field, range);
  }

  choose(name, condition) {
    if (condition) this.chosen[name] = condition;
    else delete this.chosen[name];
    for (const pill of this.place.querySelectorAll(".pill")) if (pill.dataset.field === name) this.mark(pill, name);
    this.place.querySelector(".reset").hidden = !Object.keys(this.chosen).length;
    this.changed();
  }

  groups(names) {
    const label = made("label", this.group ? "group on" : "group", "one per");
    const select = made("select");
    select.append(new Option("document", ""), ...names.map((name) => new Option(name)));
    select.value = this.group;
    select.addEventListener("change", () => {
      this.group = select.value;
      this.draw();
      this.changed();
    });
    label.append(select);
    return label;
  }

  reset() {
    const button = made("button", "reset", "Clear filters");
    button.type = "button";
    button.hidden = !Object.keys(this.chosen).length;
    button.addEventListener("click", (event) => {
      event.stopPropagation();
      this.chosen = {};
      this.draw();
      this.changed();
    });
    return button;
  }
}

const RANGED = new Set(["int", "float", "date"]);

// A field that many documents share a value of is worth grouping by; of one whose numbers are not told it may be so.
const groupable = (field) => Boolean(field && field.type === "keyword" && !(field.distinct >= field.present));

function said(condition) {
  if (condition.in) {
    const [first, ...others] = condition.in.map((value) => (typeof value === "boolean" ? (value ? "yes" : "no") : value));
    return others.length ? `${first} +${others.length}` : first;
  }
  const end = (value) => (typeof value === "string" ? value.slice(0, 10) : shownNumber(value));
  const { gte, lte = condition.lt } = condition;
  if (gte !== undefined && lte !== undefined) return `${end(gte)} – ${end(lte)}`;
  return gte !== undefined ? `≥ ${end(gte)}` : `≤ ${end(lte)}`;
}

function shownBound(input, chosen) {
  const given = input.dataset.bound === "lte" ? (chosen?.lte ?? chosen?.lt) : chosen?.gte;
  input.value = given === undefined ? "" : input.type === "date" ? given.slice(0, 10) : given;
}

// For whoever runs the server: which generation is served, switching and going back, rebuilds and how far they are, what
// each key has used. Nothing of it is asked before the corner is opened, so that other readers cause no refusals.

import { made, shownNumber } from "/values.js";

const number = new Intl.NumberFormat("en");
const LOOK_MS = 2000; // between two looks at a rebuild that runs
const ENDED = ["succeeded", "failed", "cancelled"];
const SHOWN = 5; // rebuilds

export class Manage {
  // api: asks the server; alias: of the index that is looked at; switched: another generation answers now
  constructor(corner, api, alias, switched) {
    Object.assign(this, { corner, api, alias, switched, looking: 0, was: "" });
    this.place = corner.querySelector("div");
    corner.addEventListener("toggle", () => this.look());
  }

  // What is so now; again by itself while a rebuild runs and the corner is open.
  // acted: what was asked once more has been done, or not.
  async look(said = "", acted = false) {
    clearTimeout(this.looking);
    if (!this.corner.open) return;
    const alias = this.alias();
    let rebuilds;
    try {
      rebuilds = (await this.get("/v1/rebuilds")).rebuilds.filter(({ index }) => index === alias);
      // Asked by its name, what it built is served by every worker before the answer.
      if (rebuilds.length) rebuilds[0] = await this.get(`/v1/rebuilds/${encodeURIComponent(rebuilds[0].id)}`);
    } catch (problem) {
      this.place.replaceChildren(made("p", "", problem.status === 403 ? `Only a key of scope admin opens this. ${problem.detail}` : problem.detail));
      return;
    }
    const [info, usage] = await Promise.all([
      this.get(`/v1/indexes/${encodeURIComponent(alias)}`),
      this.get("/v1/usage").catch(() => null), // older servers have none
    ]).catch(() => []);
    if (!info || alias !== this.alias()) return;
    if (!acted && this.place.querySelector("[data-sure]")) return; // it is about to be decided
    const running = rebuilds.find(({ state }) => !ENDED.includes(state));
    this.place.replaceChildren(
      this.generations(info, said),
      this.rebuilding(info, rebuilds, running),
      ...(usage?.keys.length ? [spent(usage)] : []),
    );
    if (this.was && this.was !== info.generation) this.switched(info);
    this.was = info.generation;
    if (running) this.looking = setTimeout(() => this.look(), LOOK_MS);
  }

  // Another index is chosen.
  another() {
    this.was = "";
    this.place.replaceChildren();
    this.look();
  }

  generations(info, said) {
    const part = section("Generation");
    part.append(facts([["serves", info.generation], ["built", info.built_at], ["before it", info.previous || "none"]]));
    if (info.refused) part.append(made("p", "bad", info.refused));
    const path = `/v1/aliases/${encodeURIComponent(info.alias)}`;
    const match = info.etag ? { "if-match": `"${info.etag}"` } : {};
    const buttons = made("div", "row");
    if (info.previous) {
      buttons.append(this.action("Go back", `Serve ${info.previous} again`, () => this.api(`${path}/rollback`, { method: "POST", headers: match })));
    }
    const form = made("form", "row"), field = made("input");
    field.type = "text";
    field.placeholder = `${info.alias}-…`;
    field.setAttribute("aria-label", "Id of a generation");
    const serve = made("button", "", "Serve it");
    form.append(field, serve);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const body = JSON.stringify({ generation: field.value.trim() });
      if (field.value.trim()) this.act(() => this.api(path, { method: "PUT", headers: { ...match, "content-type": "application/json" }, body }));
    });
    part.append(buttons, form, told(said));
    return part;
  }

  rebuilding(info, rebuilds, running) {
    const part = section("Rebuilds");
    const body = JSON.stringify({ index: info.alias, source: "changes" });
    const buttons = made("div", "row");
    if (running) {
      const path = `/v1/rebuilds/${encodeURIComponent(running.id)}`;
      buttons.append(this.action("Cancel", "End the rebuild", () => this.api(path, { method: "DELETE" })));
    } else {
      const start = () => this.api("/v1/rebuilds", { method: "POST", headers: { "content-type": "application/json" }, body });
      buttons.append(this.action("Rebuild", "Build a generation with what was written", start));
    }
    const list = made("ul");
    for (const one of rebuilds.slice(0, SHOWN)) {
      const item = made("li", one.state);
      const far = one.state === "running" ? [one.step, one.progress].filter(Boolean).join(": ") : one.detail || one.generation || "";
      item.append(made("b", "", one.state), ` ${one.requested_at.replace("T", " ").slice(0, 16)} · ${one.source}${far ? ` · ${far}` : ""}`);
      list.append(item);
    }
    list.setAttribute("aria-live", "polite");
    part.append(buttons, rebuilds.length ? list : made("p", "", "None yet."));
    return part;
  }

  // A button that asks once more before it does what it says.
  action(name, what, does) {
    const button = made("button", "", name);
    button.type = "button";
    button.title = what;
    button.addEventListener("click", () => {
      if (button.dataset.sure) return void this.act(does);
      button.dataset.sure = "yes";
      button.textContent = `${what}?`;
      clearTimeout(this.looking); // what is about to be decided is not drawn anew
    });
    button.addEventListener("blur", () => {
      if (!button.dataset.sure) return;
      delete button.dataset.sure;
      button.textContent = name;
      this.looking = setTimeout(() => this.look(), LOOK_MS);
    });
    return button;
  }

  async act(does) {
    let said = "";
    try {
      await does();
    } catch (problem) {
      said = problem.detail || problem.title;
    }
    await this.look(said, true);
  }

  async get(path) {
    return (await this.api(path)).content;
  }
}

function spent({ keys, since, energy, energy_of }) {
  const part = section("Usage");
  const table = made("table"), head = made("tr"), body = made("tbody");
  const columns = [
    ["key", (one) => one.key],
    ["queries", (one) => number.format(one.queries)],
    ["tokens", (one) => number.format(one.tokens)],
    ["CPU s", (one) => shownNumber(one.cpu_s)],
    ["joules", (one) => one.joules, shownNumber],
    ["dollars", (one) => one.dollars, (value) => value.toPrecision(2)],
  ].filter(([, of]) => keys.some((one) => of(one) !== undefined));
  for (const [name] of columns) head.append(made("th", "", name));
  for (const one of keys) {
    const row = made("tr");
    row.append(...columns.map(([, of, shown = String]) => made("td", "", of(one) === undefined ? "" : shown(of(one)))));
    body.append(row);
  }
  const top = made("thead"), scroll = made("div", "scroll");
  top.append(head);
  table.append(top, body);
  scroll.append(table);
  scroll.tabIndex = 0; // it scrolls on a phone, and so it has to be reached by the keyboard
  scroll.setAttribute("role", "group");
  scroll.setAttribute("aria-label", "Usage by key");
  const say = `Since ${since.replace("T", " ").slice(0, 16)}` + (energy ? ` · joules ${energy}${energy_of ? `: ${energy_of}` : ""}` : "");
  part.append(scroll, made("p", "", say));
  return part;
}

function section(name) {
  const part = made("section");
  part.append(made("h3", "", name));
  return part;
}

function facts(pairs) {
  const list = made("dl");
  for (const [name, value] of pairs) list.append(made("dt", "", name), made("dd", "code", value));
  return list;
}

function told(said) {
  const line = made("p", "bad", said);
  line.setAttribute("role", "alert");
  line.hidden = !said;
  return line;
}

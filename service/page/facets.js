// How many documents each choice of a filter would leave: numbers beside values, and for numbers and dates a spread of
// ranges, each a button that chooses it.

import { made, shownNumber, spoken } from "/values.js";

const number = new Intl.NumberFormat("en");
const VALUES = 50; // as many as the index names
const ROWS = 24; // of a spread; a step is chosen for about ten
const DAY_MS = 86_400_000;

// The facet to ask for; null where the ends of a field are not told.
export function countedBy(name, field) {
  if (!["int", "float", "date"].includes(field.type)) return { field: name, top: VALUES };
  if (field.min === undefined) return null;
  return { field: name, step: field.type === "date" ? unitOf(field) : stepOf(field) };
}

function stepOf({ type, min, max }) {
  const rough = (max - min) / 10 || 1;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((each) => each * ten >= rough) * ten;
  return type === "int" ? Math.max(1, Math.round(step)) : step;
}

function unitOf({ min, max }) {
  const days = (Date.parse(max) - Date.parse(min)) / DAY_MS;
  return [[1500, "year"], [500, "quarter"], [80, "month"], [20, "week"], [2, "day"]].find(([least]) => days > least)?.[1] || "hour";
}

// Numbers into a list of choices. Those that stand there keep their place, and the focus; `choice` makes the others.
export function drawCounts(list, counts, choice) {
  const found = new Map(counts.values.map(({ value, count }) => [value, count]));
  const items = new Map([...list.children].map((item) => [item.value_, item]));
  for (const value of found.keys()) if (!items.has(value)) items.set(value, list.appendChild(choice(value)));
  const all = counts.distinct <= counts.values.length;
  for (const [value, item] of items) {
    const count = found.get(value) ?? (all ? 0 : undefined);
    item.querySelector("small").textContent = count === undefined ? "" : number.format(count);
    item.classList.toggle("none", count === 0);
  }
}

// A row a range. Rows of the same ranges stay, and the focus in them.
export function drawSpread(list, counts, step, chosen, choose) {
  const rows = counts.ranges.slice(0, ROWS).map(({ count, ...range }) => ({ count, range: inclusive(counts.type, range) }));
  const key = JSON.stringify(rows.map(({ range }) => range));
  if (list.dataset.key !== key) {
    list.dataset.key = key;
    list.replaceChildren(...rows.map(({ range }) => row(range, counts.type, step)));
  }
  const most = Math.max(1, ...rows.map(({ count }) => count));
  [...list.children].forEach((item, place) => {
    const button = item.firstElementChild, { count, range } = rows[place];
    const on = JSON.stringify(chosen) === JSON.stringify(range);
    button.setAttribute("aria-pressed", String(on));
    button.querySelector("small").textContent = number.format(count);
    button.querySelector("i").style.width = `${Math.max(1, Math.round((100 * count) / most))}%`;
    button.onclick = () => {
      for (const other of list.querySelectorAll("button")) other.setAttribute("aria-pressed", String(other === button && !on));
      choose(on ? null : range);
    };
  });
}

function row(range, type, step) {
  const button = made("button");
  button.type = "button";
  button.append(spoken(made("span", "", named(range, type, step))), made("b"), made("small"));
  button.children[1].append(made("i"));
  const item = made("li");
  item.append(button);
  return item;
}

// A range as the fields for its ends have it: what the day or the integer is that it ends with.
function inclusive(type, { gte, lt, lte }) {
  if (lt === undefined) return { gte, lte };
  if (type === "int") return { gte, lte: lt - 1 };
  if (type === "date") return { gte, lte: new Date(Date.parse(lt) - 1).toISOString().replace("Z", "999Z") };
  return { gte, lt };
}

function named({ gte, lte, lt }, type, step) {
  if (type !== "date") {
    const end = lte ?? lt;
    return gte === end ? shownNumber(gte) : `${shownNumber(gte)} – ${shownNumber(end)}`;
  }
  if (step === "year") return gte.slice(0, 4);
  if (step === "quarter") return `${gte.slice(0, 4)} Q${(Number(gte.slice(5, 7)) + 2) / 3}`;
  if (step === "month") return gte.slice(0, 7);
  return step === "hour" ? `${gte.slice(0, 10)} ${gte.slice(11, 16)}` : gte.slice(0, 10);
}

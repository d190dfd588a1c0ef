// Values of a corpus as people read them.

// A number that came out of arithmetic has more digits than anyone reads: three behind the point, or four of a small one.
export function shownNumber(value) {
  if (Number.isInteger(value)) return String(value);
  return String(Number(Math.abs(value) < 1 ? value.toPrecision(4) : value.toFixed(3)));
}

// The same where the whole of a document is shown: only what the machine's arithmetic added is left out.
export function shownJson(value) {
  const exact = (_, one) => (typeof one === "number" && !Number.isInteger(one) ? Number(one.toPrecision(12)) : one);
  return JSON.stringify(value, exact, 2);
}

// Reads in the direction of its own words, whatever the page's is.
export function spoken(element) {
  element.dir = "auto";
  return element;
}

export function made(name, kind, text) {
  const element = document.createElement(name);
  if (kind) element.className = kind;
  if (text !== undefined) element.textContent = text;
  return element;
}

// Elements and numbers. Text is always set as text: names of models and features come from elsewhere.

export const byId = (id) => document.getElementById(id);

export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Rows of a table; a head or cell that is a list is a text and its class.
export function fillTable(table, heads, rows) {
  const cell = (tag) => (given) => {
    const [content, kind] = Array.isArray(given) ? given : [given, ""];
    return el(tag, { className: kind, ...(tag === "th" ? { scope: "col" } : {}) }, content);
  };
  table.replaceChildren(
    el("thead", {}, el("tr", {}, ...heads.map(cell("th")))),
    el("tbody", {}, ...rows.map((cells) => el("tr", {}, ...cells.map(cell("td"))))),
  );
}

const wholes = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export function count(value) {
  return wholes.format(value);
}

// Three digits that tell, as many as a reader needs of a rate or a time.
export function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1000) return wholes.format(value);
  return value.toFixed(size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

export function psi(value) {
  return value === null || value === undefined ? "–" : value.toFixed(3);
}

export function share(value) {
  return value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`;
}

export function clock(seconds, horizon = 0) {
  if (seconds === null || seconds === undefined) return "–";
  const date = new Date(1000 * seconds);
  const day = { month: "short", day: "numeric" };
  const time = { hour: "2-digit", minute: "2-digit", hour12: false };
  if (horizon > 2 * 86400) return date.toLocaleString("en", day);
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString("en", today || horizon ? time : { ...day, ...time });
}

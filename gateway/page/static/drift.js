// The map of features over time, and the histogram behind each of its cells.

import { byId, clock, count, el, fillTable, psi, share, svg } from "./dom.js";

const RANGES = { "15 min": 900, "1 h": 3600, "24 h": 86400, "7 d": 604800 };
const ROW = 26;
const STILL_MS = 4000;
const RANK = { none: 0, warning: 1, critical: 2 };

const map = byId("map");
let model = null;
let drift = null; // the newest event's part on this model
let course = null; // what /monitor/course said last
let asked = 0; // the newest request for it: an older answer is thrown away
let again = 0; // when it is asked for anew
let horizon = 3600;
let version = ""; // empty: all of them, up to the one that serves
let order = []; // places of the columns that are shown
let active = 0; // row, within `order`
let step = -1; // cell of it; -1 is `now`
let opened = null;
let histogramAt = 0;
let touched = 0; // when somebody last moved in the map

const follows = () => version === "" || version === drift?.version;
const names = () => course?.columns ?? drift?.names ?? [];

function nowOf(place) {
  return follows() && drift ? { psi: drift.psi[place], severity: drift.severities[place] } : { psi: null, severity: "none" };
}

function level(value) {
  return value === null || value === undefined ? "x" : value < 0.03 ? "l0" : value < 0.06 ? "l1" : value < 0.1 ? "l2" : "l3";
}

const kind = (value, severity) => (severity === "critical" ? "c" : severity === "warning" ? "w" : level(value));
const stepsInAll = () => (course ? Math.round((nextEnd() - course.start) / course.step_s) : 0);

function nextEnd() {
  const steps = Math.max(1, Math.floor(horizon / course.step_s));
  return course.start + steps * course.step_s;
}

function stepAt(place) {
  const start = course.start + place * course.step_s;
  return course.steps.find((found) => found.start === start);
}

// Worst first: by what is now, then by the worst of the steps; the calm ones keep their place while they stay calm.
function weigh(place) {
  const now = nowOf(place);
  const of = (value, severity) => RANK[severity] * 100 + (severity === "none" ? Number(level(value)[1] ?? 0) : 5 + Math.min(value, 90));
  let worst = 0;
  for (const found of course?.steps ?? []) worst = Math.max(worst, of(found.psi[place], found.severity[place]));
  return Math.round(of(now.psi, now.severity) * 10) * 1000 + worst;
}

function sort() {
  const sought = byId("filter").value.trim().toLowerCase();
  const only = byId("only").checked;
  const weights = names().map((_, place) => weigh(place));
  const drifted = (place) => nowOf(place).severity !== "none" || course?.steps.some((found) => found.severity[place] !== "none");
  const kept = order[active];
  order = weights.map((_, place) => place)
    .filter((place) => names()[place].toLowerCase().includes(sought) && (!only || drifted(place)))
    .sort((a, b) => weights[b] - weights[a] || a - b);
  active = Math.max(0, order.indexOf(kept));
  byId("rows").style.height = `${Math.max(order.length, 1) * ROW}px`;
  map.setAttribute("aria-rowcount", order.length);
}

function rowOf(index) {
  const place = order[index];
  const name = names()[place];
  const now = nowOf(place);
  const total = stepsInAll();
  const cells = [];
  let before = null;
  for (let at = 0; at < total; at += 1) {
    const found = stepAt(at);
    const swapped = before !== null && found && found.version !== before;
    before = found?.version ?? before;
    const value = found ? found.psi[place] : null;
    const severity = found ? found.severity[place] : "none";
    const when = clock(course.start + at * course.step_s, horizon);
    const text = `${when}: PSI ${psi(value)}${severity === "none" ? "" : `, ${severity}`}${found ? `, ${count(found.n)} rows of version ${found.version}` : ", no rows"}`;
    cells.push(el("span", {
      id: `cell-${index}-${at}`, className: `cell ${kind(value, severity)}${index === active && at === step ? " chosen" : ""}${swapped ? " swap" : ""}`,
      role: "gridcell", title: text, ariaLabel: text,
    }));
    cells.at(-1).dataset.step = at;
  }
  const strip = el("div", { className: "cells", role: "presentation" }, ...cells);
  const shown = now.severity === "none" ? psi(now.psi) : el("span", { className: now.severity }, psi(now.psi));
  const row = el("div", {
    id: `row-${index}`, role: "row", className: `row${index === active ? " active" : ""}${place === names().length - 1 ? " score" : ""}`,
    ariaLabel: `${name}: PSI ${psi(now.psi)} now, ${now.severity === "none" ? "no drift" : now.severity}`,
  },
    el("span", { className: "name", role: "rowheader", title: name }, name), strip,
    el("span", { className: `now${index === active && step === -1 ? " chosen" : ""}`, role: "gridcell" }, shown));
  row.setAttribute("aria-rowindex", index + 1);
  row.style.transform = `translateY(${index * ROW}px)`;
  row.dataset.index = index;
  return row;
}

// Only what can be seen is made: a thousand features cost no more than forty.
function draw() {
  const first = Math.max(0, Math.floor(map.scrollTop / ROW) - 4);
  const last = Math.min(order.length, first + Math.ceil(map.clientHeight / ROW) + 8);
  map.style.setProperty("--steps", stepsInAll() || 1);
  const rows = [];
  for (let index = first; index < last; index += 1) rows.push(rowOf(index));
  byId("rows").replaceChildren(...rows);
  if (!order.length && names().length) byId("rows").append(el("p", { className: "hint" }, "No feature of this name has drifted or is there."));
  map.setAttribute("aria-activedescendant", step < 0 ? `row-${active}` : `cell-${active}-${step}`);
  const ticks = course ? [0, 1 / 3, 2 / 3].map((part) => course.start + Math.floor(part * stepsInAll()) * course.step_s) : [];
  byId("ticks").replaceChildren(...ticks.map((at) => el("span", {}, clock(at, horizon))), el("span"));
}

function summarise() {
  const text = byId("summary");
  if (!drift || !follows()) {
    text.textContent = course && version ? `Version ${version} as it was while it served: ${count(course.steps.reduce((sum, found) => sum + found.n, 0))} rows in this time.` : "";
    return;
  }
  const drifted = drift.names.map((name, place) => ({ name, value: drift.psi[place], severity: drift.severities[place] }))
    .filter((found) => found.severity !== "none").sort((a, b) => b.value - a.value);
  if (drift.psi.every((value) => value === null)) {
    text.textContent = `Too few rows to judge: ${count(drift.n)} so far, 100 are needed.`;
  } else if (!drifted.length) {
    text.replaceChildren(el("span", { className: "calm" }, "No drift"), ` in ${count(drift.names.length)} columns, over ${count(drift.n)} rows since ${clock(drift.since)}.`);
  } else {
    const listed = drifted.slice(0, 3).map((found) => `${found.name} ${psi(found.value)}`).join(", ");
    text.replaceChildren(
      el("span", { className: drift.severity }, `${drifted.length} of ${count(drift.names.length)} columns drift`),
      `: ${listed}${drifted.length > 3 ? " and more" : ""}; ${count(drift.n)} rows since ${clock(drift.since)}.`,
    );
  }
  if (drift.missing_drift.length) text.append(` Another share than before is missing in ${drift.missing_drift.slice(0, 3).join(", ")}.`);
}

async function ask(path, parameters) {
  const answer = await fetch(`${path}?${new URLSearchParams(parameters)}`);
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.detail);
  return found;
}

async function askCourse() {
  const number = (asked += 1);
  again = Date.now() + 60_000;
  try {
    const found = await ask("monitor/course", { model, horizon_s: horizon, ...(version ? { version } : {}) });
    if (number !== asked) return;
    course = found;
    again = Date.now() + 1000 * Math.min(Math.max(course.step_s / 6, 10), 60);
    showVersionChoice();
  } catch (error) {
    if (number !== asked) return;
    course = null;
    again = Date.now() + 5000;
    byId("summary").textContent = error.message;
  }
  refresh();
}

function showVersionChoice() {
  const choices = [["", "all"]];
  for (const { version: past } of course.versions) {
    if (!choices.some(([value]) => value === past)) choices.push([past, past === drift?.version ? `${past} (serves)` : past]);
  }
  const select = byId("version");
  if ([...select.options].map((option) => option.text).join("\n") === choices.map(([, text]) => text).join("\n")) return;
  select.replaceChildren(...choices.map(([value, text]) => el("option", { value, selected: value === version }, text)));
}

function refresh() {
  if (Date.now() > touched + STILL_MS || !order.length) sort(); // else a row would slip away from under the hand
  draw();
}

// Take over the part of an event `drift` that is about the chosen model; undefined if there is none.
export function showDrift(found, chosen) {
  const other = chosen !== model || found?.sha256 !== drift?.sha256 || found?.severity !== drift?.severity;
  if (chosen !== model) {
    version = "";
    course = null;
    order = [];
  }
  model = chosen;
  drift = found;
  if (model && (other || Date.now() > again)) askCourse();
  if (drift && course?.columns.join("\n") !== drift.names.join("\n") && follows()) course = null;
  summarise();
  refresh();
  if (opened && opened.step === -1 && Date.now() > histogramAt) showHistogram();
}

function bars(groups) {
  const most = Math.max(...groups.flatMap((group) => [group.reference, group.current]), 1e-9);
  const width = 640 / groups.length;
  const drawn = groups.flatMap((group, place) => ["reference", "current"].map((key, side) => {
    const height = (150 * group[key]) / most;
    return svg("rect", {
      class: side ? "bar-current" : "bar-before", x: (place + 0.1 + 0.41 * side) * width, y: 160 - height, width: 0.39 * width, height,
      rx: 1.5,
    });
  }));
  const labels = [groups[0].label, groups.at(-1).label].map((text, place) =>
    svg("text", { x: place * 640, y: 176, "text-anchor": place ? "end" : "start" }, text));
  return svg("svg", { viewBox: "0 0 640 182", role: "img", "aria-label": "histogram; the table below has its numbers" },
    svg("line", { x1: 0, x2: 640, y1: 160, y2: 160 }), ...drawn, ...labels);
}

async function showHistogram() {
  const { name, at, of } = opened;
  histogramAt = Date.now() + 2000;
  const window = at === null ? {} : { horizon_s: course.step_s, until: at + course.step_s };
  const shown = of ?? (version || drift?.version);
  let found;
  try {
    found = await ask("monitor/histogram", { model, feature: name, ...(shown ? { version: shown } : {}), ...window });
  } catch (error) {
    byId("detail-verdict").textContent = error.message;
    return;
  }
  if (opened?.name !== name || opened.at !== at) return;
  const { column, groups } = found;
  const when = at === null ? `since ${clock(found.since)}` : `from ${clock(at)} to ${clock(at + course.step_s)}`;
  const verdict = column.reason ?? (column.severity === "none" ? "no drift" : column.severity);
  const figures = column.psi === null ? "" : ` · PSI ${psi(column.psi)} · KS ${psi(column.ks)} · p ${column.p_value < 0.001 ? "< 0.001" : column.p_value.toFixed(3)}`;
  byId("detail-verdict").replaceChildren(
    el("span", { className: column.severity === "none" ? "" : column.severity }, verdict),
    `${figures} · missing ${share(column.missing)}${column.missing_drift ? ", another share than before" : ""} · ${count(column.n)} values of version ${found.version} ${when}`,
  );
  byId("detail-chart").replaceChildren(bars(groups));
  fillTable(byId("detail-table"), [["range", "text"], "training data", at === null ? "now" : "then"],
    groups.map((group) => [[group.label, "text"], share(group.reference), share(group.current)]));
}

function open() {
  const place = order[active];
  if (place === undefined) return;
  const found = step < 0 ? null : course.start + step * course.step_s;
  opened = { name: names()[place], at: found, of: step < 0 ? null : stepAt(step)?.version, step };
  byId("detail-name").textContent = opened.name;
  byId("detail-verdict").textContent = "…";
  byId("detail-chart").replaceChildren();
  byId("detail-table").replaceChildren();
  byId("detail").showModal();
  showHistogram();
}

function move(rows, cells) {
  active = Math.min(Math.max(active + rows, 0), Math.max(order.length - 1, 0));
  const steps = stepsInAll();
  if (cells) {
    const from = step < 0 ? steps : step;
    const to = Math.min(Math.max(from + cells, 0), steps);
    step = to === steps ? -1 : to;
  }
  const top = active * ROW;
  if (top < map.scrollTop) map.scrollTop = top;
  if (top + ROW > map.scrollTop + map.clientHeight) map.scrollTop = top + ROW - map.clientHeight;
  draw();
}

function onKey(event) {
  const page = Math.max(1, Math.floor(map.clientHeight / ROW) - 1);
  const keys = {
    ArrowDown: [1, 0], ArrowUp: [-1, 0], PageDown: [page, 0], PageUp: [-page, 0], Home: [-1e6, 0], End: [1e6, 0],
    ArrowLeft: [0, -1], ArrowRight: [0, 1],
  };
  if (event.key === "Enter" || event.key === " ") open();
  else if (keys[event.key]) move(...keys[event.key]);
  else return;
  event.preventDefault();
}

export function startDrift() {
  for (const [text, seconds] of Object.entries(RANGES)) {
    const input = el("input", { type: "radio", name: "range", value: seconds, checked: seconds === horizon });
    input.addEventListener("change", () => {
      horizon = seconds;
      step = -1;
      askCourse();
    });
    byId("range").append(el("label", {}, input, text));
  }
  const anew = () => {
    active = 0;
    map.scrollTop = 0;
    sort();
    draw();
  };
  byId("filter").addEventListener("input", anew);
  byId("only").addEventListener("change", anew);
  byId("version").addEventListener("change", (event) => {
    version = event.target.value;
    step = -1;
    order = [];
    askCourse();
    summarise();
  });
  for (const kind of ["keydown", "pointermove", "scroll"]) map.addEventListener(kind, () => (touched = Date.now()), { passive: true });
  map.addEventListener("keydown", onKey);
  map.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  map.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    if (!row) return;
    active = Number(row.dataset.index);
    step = event.target.dataset.step === undefined ? -1 : Number(event.target.dataset.step);
    draw();
    open();
  });
  byId("detail").addEventListener("close", () => {
    opened = null;
    map.focus();
  });
  byId("detail").addEventListener("click", (event) => {
    if (event.target === byId("detail")) byId("detail").close();
  });
}

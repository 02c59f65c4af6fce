// Listens to /events and hands what it says to the parts of the page.

import { drawCharts, resizeCharts, showFigures } from "./charts.js";
import { byId, count, el } from "./dom.js";
import { showDrift, startDrift } from "./drift.js";
import { countFiring, showAlerts, showPerformance, showVersions } from "./lists.js";

const RETRY_MS = 1500;
const SILENT_MS = 5000;
const HIDDEN_MS = 60_000;

const last = { state: null, drift: [], alerts: [], performance: null };
let model = null;
let stream = null;
let heardAt = 0;
let again = 0;
let features = null;

function connect() {
  clearTimeout(again);
  stream?.close();
  const opened = (stream = new EventSource("events"));
  heardAt = Date.now();
  for (const kind of Object.keys(last)) {
    opened.addEventListener(kind, (event) => {
      heardAt = Date.now();
      last[kind] = JSON.parse(event.data);
      show(kind);
    });
  }
  opened.addEventListener("error", () => {
    lost();
    // A refusal ends an EventSource for good, so it is opened anew; all else it tries again by itself.
    if (opened === stream && opened.readyState === EventSource.CLOSED) again = setTimeout(connect, RETRY_MS);
  });
}

function lost() {
  if (Date.now() - heardAt < 1500) return; // a stream ends now and then, and the next one is there at once
  document.documentElement.classList.add("stale");
  byId("status").dataset.state = "bad";
  byId("status-text").textContent = "connection lost, trying again";
}

function watch() {
  if (stream && Date.now() - heardAt > SILENT_MS) {
    lost();
    if (stream.readyState === EventSource.OPEN) connect();
  }
}

function show(kind) {
  if (kind === "state") {
    document.documentElement.classList.remove("stale");
    chooseModel();
    showStatus();
  }
  const { state, drift } = last;
  if (!state) return;
  const found = drift.find((part) => part.model === model);
  if (kind === "state") {
    showFigures(state, model, found);
    showVersions(state, model);
    showEmpty();
  }
  if (kind === "state" || kind === "drift") showDrift(found, model);
  if (kind === "alerts" || !byId("alerts").childElementCount) showAlerts(last.alerts, model);
  if (kind === "performance" || !byId("performance").childElementCount) showPerformance(last.performance, model);
}

function chooseModel() {
  const names = [...new Set(last.state.versions.map((version) => version.model))];
  if (!names.includes(model)) model = names[0] ?? null;
  const select = byId("model");
  byId("model-field").hidden = names.length < 2;
  if ([...select.options].map((option) => option.value).join("\n") !== names.join("\n")) {
    select.replaceChildren(...names.map((name) => el("option", { value: name, selected: name === model }, name)));
  }
  document.title = model ? `${model} · hotgate` : "hotgate";
}

function showStatus() {
  const { state } = last;
  const drifts = last.drift.some((part) => part.severity !== "none");
  const firing = countFiring(last.alerts);
  const more = [drifts && "data drifts", firing && `${count(firing)} ${firing === 1 ? "alert fires" : "alerts fire"}`];
  byId("status").dataset.state = state.status === "ok" ? (firing ? "warn" : "ok") : state.status === "degraded" ? "warn" : "bad";
  byId("status-text").textContent = `${state.status} · ${count(state.workers_ready)} ${state.workers_ready === 1 ? "worker" : "workers"} ready${more.filter(Boolean).map((words) => ` · ${words}`).join("")}`;
  byId("fresh").textContent = new Date(1000 * state.time).toLocaleTimeString("en", { hour12: false });
  const notices = byId("notices");
  if (notices.dataset.text !== state.notices.join("\n")) {
    notices.dataset.text = state.notices.join("\n");
    notices.replaceChildren(...state.notices.map((text) => el("p", { className: "notice" }, text)));
  }
}

// What to do where nothing has come yet.
async function showEmpty() {
  const hint = byId("empty");
  const rows = last.state.versions.reduce((sum, version) => sum + version.rows, 0);
  hint.hidden = rows > 0;
  if (rows > 0 || hint.dataset.model === String(model)) return;
  hint.dataset.model = String(model);
  if (!model) {
    hint.replaceChildren("No model serves yet: promote one with ", el("code", {}, "hotgate promote NAME VERSION --to Production"));
    return;
  }
  features ??= await (await fetch("health")).json();
  const width = features.models.find((found) => found.name === model)?.loaded?.features.length ?? 0;
  const row = width <= 60 ? JSON.stringify(Array(width).fill(0)) : "[…]";
  hint.replaceChildren("No rows yet: send one with ",
    el("code", {}, `curl -s ${location.origin}/predict/${model} -H 'Content-Type: application/json' -d '{"features": ${row}}'`));
}

const THEMES = { "": ["◐", "as the system"], light: ["☀", "light"], dark: ["☾", "dark"] };

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  const [sign, words] = THEMES[theme];
  byId("theme").textContent = sign;
  byId("theme").title = byId("theme").ariaLabel = `Theme: ${words}`;
  drawCharts();
  if (last.state) show("state");
}

function stored() {
  try {
    return localStorage.getItem("theme") ?? "";
  } catch {
    return ""; // storage is off
  }
}

byId("theme").addEventListener("click", () => {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(document.documentElement.dataset.theme ?? "") + 1) % names.length];
  try {
    localStorage.setItem("theme", next);
  } catch {
    // Then it holds until the page is left.
  }
  setTheme(next);
});
byId("model").addEventListener("change", (event) => {
  model = event.target.value;
  byId("alerts").replaceChildren();
  byId("performance").replaceChildren();
  show("state");
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => setTheme(document.documentElement.dataset.theme ?? ""));
addEventListener("resize", resizeCharts);
let asleep = 0;
document.addEventListener("visibilitychange", () => {
  clearTimeout(asleep);
  if (document.hidden) {
    asleep = setTimeout(() => {
      stream?.close();
      stream = null;
    }, HIDDEN_MS);
  } else if (!stream) connect();
});

startDrift();
setTheme(stored() in THEMES ? stored() : "");
connect();
setInterval(watch, 1000);

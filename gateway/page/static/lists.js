// Alerts, ground truth, versions and swaps.

import { byId, clock, count, el, fillTable, number } from "./dom.js";

const MEASURES = {
  accuracy: "accuracy", roc_auc: "ROC AUC", log_loss: "log loss", brier: "Brier score", ece: "calibration error",
};

export function showAlerts(alerts, model) {
  const ended = new Set(alerts.filter((alert) => alert.state === "resolved").map((alert) => alert.id));
  // One line a breach: what it was when it began, or that it is over.
  const newest = new Map();
  for (const alert of alerts) if (alert.model === model) newest.set(alert.id, alert);
  const sorted = [...newest.values()].sort((a, b) => ended.has(a.id) - ended.has(b.id) || b.started_at - a.started_at);
  const lines = sorted.map((alert) => {
    const over = ended.has(alert.id);
    const severity = over ? "resolved" : alert.severity;
    const until = over ? ` to ${clock(alert.ended_at)}` : "";
    const evidence = (alert.evidence ?? []).map((found) => `${found.name} ${found.statistic} ${number(found.value)}`).join(", ");
    return el("div", { className: "alert" },
      el("span", { className: over ? "muted" : severity }, severity),
      el("span", {}, `${String(alert.kind).replaceAll("_", " ")}, version ${alert.version}`),
      el("span", { className: "muted" }, `${clock(alert.started_at)}${until}`),
      el("span", { className: "evidence" }, evidence));
  });
  byId("alerts").replaceChildren(...(lines.length ? lines : [el("p", { className: "hint" },
    "None. Alerts come of closed windows, 15 minutes each, two breaches in a row; hotgate.toml [monitor] sets both.")]));
}

// A measure is a number, or an object that holds one with an interval.
function measured(value) {
  if (typeof value === "number") return [number(value), ""];
  if (!value || typeof value.value !== "number") return null;
  return [number(value.value), value.low === undefined || value.low === null ? "" : `${number(value.low)} to ${number(value.high)}`];
}

export function showPerformance(performance, model) {
  const all = Array.isArray(performance) ? performance : (performance?.models ?? (performance ? [performance] : []));
  const tables = all.filter((found) => found && (found.model === undefined || found.model === model)).map((found) => {
    const rows = Object.entries(MEASURES)
      .map(([key, label]) => [label, measured(found[key])])
      .filter(([, value]) => value)
      .map(([label, [value, interval]]) => [[label, "text"], value, interval || "–"]);
    const table = el("table");
    fillTable(table, [[`version ${found.version ?? "?"}, ${count(found.n ?? 0)} labels`, "text"], "value", "95 % interval"], rows);
    return table;
  });
  byId("performance").replaceChildren(...(tables.length ? tables : [el("p", { className: "hint" },
    "No labels yet: send the true one for an answer's request_id with ",
    el("code", {}, `curl -s ${location.origin}/feedback -H 'Content-Type: application/json' -d '{"request_id": "…", "label": "…"}'`))]));
}

export function showVersions(state, model) {
  const versions = state.versions.filter((version) => version.model === model).sort((a, b) => b.workers - a.workers);
  fillTable(
    byId("versions"),
    [["version", "text"], ["role", "text"], ["file", "text"], "workers", "rows/s", "rows", "no answer", "refused", "not monitored"],
    versions.map((version) => [
      [version.version, "text"], [version.sha256 ? "champion" : "leaving", "text"],
      [el("code", { title: version.sha256 ?? "" }, (version.sha256 ?? "–").slice(0, 12)), "text"],
      count(version.workers), number(version.rows_per_s), count(version.rows), count(version.failed_rows), count(version.refused),
      count(version.dropped_rows),
    ]),
  );
  const swaps = state.swaps.filter((swap) => swap.model === model).reverse();
  fillTable(
    byId("swaps"),
    [["time", "text"], ["from", "text"], ["to", "text"], ["who", "text"], ["why", "text"]],
    swaps.map((swap) => [
      [clock(Date.parse(swap.time) / 1000), "text"], [swap.before ?? "–", "text"], [swap.after ?? "–", "text"], [swap.who, "text"],
      [swap.reason, "text long"],
    ]),
  );
}

// Alerts, ground truth, versions and swaps.

import { byId, clock, count, el, fillTable, number } from "./dom.js";

const MEASURES = {
  accuracy: "accuracy", roc_auc: "ROC AUC", log_loss: "log loss", brier: "Brier score", calibration_error: "calibration error",
};
// Those of numbers, and all that a class without probabilities has.
const ERRORS = { mean_absolute_error: "mean absolute error", root_mean_squared_error: "root mean squared error", bias: "bias" };
const MEASURES_OF = { probabilities: MEASURES, class: { accuracy: MEASURES.accuracy }, number: ERRORS };
const ENOUGH = 100; // labels, for the shortest horizon that is worth showing

function over(alerts) {
  return new Set(alerts.filter((alert) => alert.state === "resolved").map((alert) => alert.id));
}

// How many breaches last that somebody was told of.
export function countFiring(alerts) {
  const ended = over(alerts);
  const told = alerts.filter((alert) => !alert.silenced && !ended.has(alert.id));
  return new Set(told.map((alert) => alert.id)).size;
}

export function showAlerts(alerts, model) {
  const ended = over(alerts);
  // One line a breach: what it was when it began, or that it is over.
  const newest = new Map();
  for (const alert of alerts) if (!alert.model || alert.model === model) newest.set(alert.id, alert);
  const sorted = [...newest.values()].sort((a, b) => ended.has(a.id) - ended.has(b.id) || b.started_at - a.started_at);
  const lines = sorted.map((alert) => {
    const isOver = ended.has(alert.id);
    const severity = isOver ? "resolved" : alert.severity;
    const until = isOver ? ` to ${clock(alert.ended_at)}` : "";
    const evidence = (alert.evidence ?? []).map((found) => `${found.name} ${found.statistic} ${number(found.value)} (limit ${number(found.threshold)})`).join(", ");
    return el("div", { className: "alert" },
      el("span", { className: isOver ? "muted" : severity }, severity),
      el("span", {}, [alert.kind.replaceAll("_", " "), alert.about, alert.version && `version ${alert.version}`, alert.silenced && "silenced"].filter(Boolean).join(", ")),
      el("span", { className: "muted" }, `${clock(alert.started_at)}${until}`),
      el("span", { className: "evidence" }, [evidence, alert.text].filter(Boolean).join(". ")));
  });
  byId("alerts").replaceChildren(...(lines.length ? lines : [el("p", { className: "hint" },
    "None. Drift is judged on closed windows: [monitor] in hotgate.toml says how long they are, and how many in a row make an alert.")]));
}

// A figure is a value with its interval, or the reason why there is none.
function inWords(measure, figure) {
  const show = (value) => (measure === "accuracy" ? `${(100 * value).toFixed(1)} %` : value.toFixed(3));
  if (typeof figure?.value !== "number") return ["–", figure?.reason ?? "–"];
  return [show(figure.value), typeof figure.low === "number" ? `${show(figure.low)} to ${show(figure.high)}` : "–"];
}

// One version, over the shortest horizon that has enough labels, else over the longest.
function performanceOf(report) {
  const horizons = [...report.horizons].sort((a, b) => a.horizon_s - b.horizon_s);
  const horizon = horizons.find((found) => found.realised.n >= ENOUGH) ?? horizons.at(-1);
  if (!horizon) return [];
  const rows = Object.entries(MEASURES_OF[report.judged] ?? MEASURES).map(([measure, label]) => {
    const [value, interval] = inWords(measure, horizon.realised[measure]);
    return [[label, "text"], value, value === "–" ? [interval, "long"] : interval, inWords(measure, horizon.estimated?.[measure])[0]];
  });
  const table = el("table");
  const hours = Math.round(horizon.horizon_s / 3600);
  const head = `version ${report.version}, ${count(horizon.realised.n)} labels of ${hours > 48 ? `${hours / 24} days` : `${hours} h`}`;
  fillTable(table, [[head, "text"], "value", "95 % interval", "expected"], rows);
  const worse = report.concept_drift ? [el("p", { className: "warning" }, "the error rate has risen and has not come back")] : [];
  return [...worse, el("div", { className: "scroll" }, table)];
}

export function showPerformance(performance, model) {
  const reports = (performance?.models ?? []).filter((report) => report.model === model && report.horizons.some((found) => found.realised.n > 0));
  byId("performance").replaceChildren(...(reports.length ? reports.slice(-2).reverse().flatMap(performanceOf) : [el("p", { className: "hint" },
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

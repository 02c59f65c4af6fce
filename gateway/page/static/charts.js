// The figures of now, and the last five minutes of them.

import { byId, count, el, number } from "./dom.js";

const SPAN_S = 300;
const HEIGHT = 158;
const SIZES = ["1", "2", "4", "8", "16", "32", "64", "128", "256", "512", "1k", ">1k"];
const REASONS = {
  turn: "all that was coming was in",
  landing: "it formed while another one ran",
  full: "it had max_batch_rows rows",
};

const times = [];
const series = { rows: [], run50: [], run99: [], queue99: [] };
let plots = [];
let swaps = [];
let model = null;

// A colour of the style sheet as a canvas takes it.
function colour(name) {
  const probe = document.body.appendChild(el("i"));
  probe.style.color = `var(--${name})`;
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function drawSwaps(plot) {
  const { ctx, bbox } = plot;
  ctx.save();
  const [line, card] = [colour("third"), colour("card")];
  ctx.fillStyle = line;
  ctx.font = `${11 * devicePixelRatio}px system-ui`;
  for (const [place, swap] of swaps.entries()) {
    const at = Date.parse(swap.time) / 1000;
    if (at < plot.scales.x.min || at > plot.scales.x.max) continue;
    const x = Math.round(plot.valToPos(at, "x", true));
    ctx.strokeStyle = line;
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([4, 4]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const right = x > bbox.left + bbox.width - 70 * devicePixelRatio;
    ctx.textAlign = right ? "right" : "left";
    // Every other one lower, so that two swaps in a row can both be read.
    const y = bbox.top + (11 + 13 * (place % 2)) * devicePixelRatio;
    const label = [`version ${swap.after ?? "none"}`, x + (right ? -5 : 5) * devicePixelRatio, y];
    ctx.setLineDash([]);
    ctx.strokeStyle = card;
    ctx.lineWidth = 4 * devicePixelRatio;
    ctx.strokeText(...label);
    ctx.fillText(...label);
  }
  ctx.restore();
}

const timeOf = (at) => new Date(1000 * at).toLocaleTimeString("en", { hour12: false });

// From the first look on, the last five minutes at most.
function spanOf() {
  const end = times.at(-1) ?? Date.now() / 1000;
  return [Math.max(Math.min(times[0] ?? end, end - 60), end - SPAN_S), end];
}

function powersOfTen(low, high) {
  return [10 ** Math.floor(Math.log10(low || 0.01)), 10 ** Math.ceil(Math.log10(high || 1) + 1e-9)];
}

// Lines at 0.01, 0.1, 1, …, and not at 2, 3, 4, … times these.
const whole = (_, splits) => splits.map((value) => (Math.abs(Math.log10(value) % 1) < 1e-9 ? value : null));

const SCALES = {
  rate: { range: (_, low, high) => [0, Math.max(1.4 * high, 1)] },
  time: { distr: 3, range: (_, low, high) => powersOfTen(low, high) },
};

function plot(id, scale, lines, keys) {
  const grid = { stroke: colour("line"), width: 1 };
  const axis = { stroke: colour("muted"), grid, ticks: { show: false }, font: "11px system-ui" };
  const host = byId(id);
  const made = new uPlot(
    {
      width: host.clientWidth,
      height: HEIGHT,
      padding: [8, 14, 0, 0],
      cursor: { y: false, points: { size: 6 }, sync: { key: "page" } },
      scales: { x: { range: spanOf }, y: SCALES[scale] },
      axes: [
        { ...axis, size: 24, space: 60, incrs: [15, 30, 60], values: (_, ticks) => ticks.map((at) => timeOf(at).slice(0, at % 60 ? 8 : 5)) },
        { ...axis, size: 46, space: 26, grid: { ...grid, ...(scale === "time" ? { filter: whole } : {}) }, values: (_, ticks) => ticks.map((value) => (value === null ? "" : String(Number(value.toPrecision(3))))) },
      ],
      series: [
        { label: "time", value: (_, at) => (at ? timeOf(at) : "–") },
        ...lines.map(([label, name, more]) => ({ label, stroke: colour(name), width: 1.75, points: { show: false }, value: (_, given) => number(given), ...more })),
      ],
      hooks: { draw: [drawSwaps] },
    },
    [times, ...keys.map((key) => series[key])],
    host,
  );
  return { made, keys, host };
}

function refill({ made, keys }) {
  if (!times.length) return;
  made.setData([times, ...keys.map((key) => series[key])]);
  if (made.cursor.idx === null || made.cursor.idx === undefined) made.setLegend({ idx: times.length - 1 });
}

// Make the charts, or make them anew in other colours.
export function drawCharts() {
  for (const { made } of plots) made.destroy();
  const accent = colour("accent").replace("rgb(", "rgba(").replace(")", ", .14)");
  plots = [
    plot("throughput", "rate", [["rows/s", "accent", { fill: accent }]], ["rows"]),
    plot(
      "latency",
      "time",
      [["run p50", "accent"], ["run p99", "second"], ["queue p99", "third", { dash: [5, 3] }]],
      ["run50", "run99", "queue99"],
    ),
  ];
  plots.forEach(refill);
}

export function resizeCharts() {
  for (const { made, host } of plots) made.setSize({ width: host.clientWidth, height: HEIGHT });
}

// The versions of the chosen model, as one: what a caller sees.
function together(versions, windowS) {
  const total = (key) => versions.reduce((sum, version) => sum + version[key], 0);
  const busiest = [...versions].sort((a, b) => b.batches - a.batches)[0];
  const sizes = SIZES.map((_, place) => versions.reduce((sum, version) => sum + version.batch_rows[place], 0));
  const batches = total("batches");
  return {
    rowsPerS: total("rows_per_s"), failedPerS: total("failed_per_s"), refusedPerS: total("refused_per_s"),
    run: busiest?.run_ms ?? null, queue: busiest?.queue_ms ?? null, batches, sizes,
    perBatch: batches ? (total("rows_per_s") * windowS) / batches : null,
    released: Object.fromEntries(Object.keys(REASONS).map((key) => [key, versions.reduce((sum, version) => sum + version.released[key], 0)])),
  };
}

function figure(id, label, value, unit, below) {
  return el("div", { className: "figure" }, el("span", {}, label), el("b", { id }, value, el("small", {}, unit)), el("span", {}, below));
}

function showBatches(all) {
  const most = Math.max(...all.sizes, 1);
  const bars = all.sizes.map((size, place) => {
    const bar = el("div", { title: `${SIZES[place]} rows: ${count(size)} batches` });
    bar.style.height = `${(100 * size) / most}%`;
    return bar;
  });
  const sizes = el("div", { className: "sizes", role: "img", ariaLabel: `rows in a batch: ${SIZES.map((name, place) => `${name}: ${all.sizes[place]}`).join(", ")}` }, ...bars);
  const reasons = Object.entries(REASONS).map(([key, meaning]) => {
    const part = all.batches ? all.released[key] / all.batches : 0;
    const meter = el("div");
    meter.style.width = `${100 * part}%`;
    return el("div", { className: "reason", title: `${key}: ${meaning}` }, el("span", {}, key), el("div", { className: "track" }, meter), el("b", {}, all.batches ? `${(100 * part).toFixed(0)} %` : "–"));
  });
  byId("batches").replaceChildren(sizes, el("div", { className: "labels", ariaHidden: "true" }, ...SIZES.map((name) => el("span", {}, name))), ...reasons);
}

// Take over one event `state`; `drift` is the verdict on the chosen model, if there is one.
export function showFigures(state, chosen, drift) {
  if (chosen !== model) {
    model = chosen;
    times.length = 0;
    for (const values of Object.values(series)) values.length = 0;
  }
  const all = together(state.versions.filter((version) => version.model === chosen), state.window_s);
  const errors = Object.values(state.errors_per_s).reduce((sum, rate) => sum + rate, 0);
  const known = state.window_s > 0;
  swaps = state.swaps.filter((swap) => swap.model === chosen);
  if (known) {
    if (times.length && state.time - times.at(-1) > 3) add(times.at(-1) + 1, null, null, null, null);
    add(state.time, all.rowsPerS, all.run?.p50 ?? null, all.run?.p99 ?? null, all.queue?.p99 ?? null);
  }
  const judged = drift?.psi.some((value) => value !== null);
  const verdict = judged ? (drift.severity === "none" ? "calm" : drift.severity) : "–";
  byId("figures").replaceChildren(
    figure("rows-per-s", "Rows", known ? number(all.rowsPerS) : "–", "/s", `${count(state.versions.filter((version) => version.model === chosen).reduce((sum, version) => sum + version.rows, 0))} since the start`),
    figure("run-p99", "Run, p99", number(all.run?.p99), "ms", `p50 ${number(all.run?.p50)} ms`),
    figure("queue-p99", "Queue, p99", number(all.queue?.p99), "ms", `p50 ${number(all.queue?.p50)} ms`),
    figure("per-batch", "Rows a batch", number(all.perBatch), "", `${count(all.batches)} batches in ${state.window_s.toFixed(0)} s`),
    figure("errors", "Errors", known ? number(errors) : "–", "/s", `refused ${number(all.refusedPerS)} · no answer ${number(all.failedPerS)}`),
    el("div", { className: "figure" }, el("span", {}, "Drift"), el("b", { id: "severity", className: verdict }, verdict), el("span", {}, judged ? `${count(drift.n)} rows judged` : "no verdict yet")),
  );
  showBatches(all);
  plots.forEach(refill);
}

function add(time, rows, run50, run99, queue99) {
  times.push(time);
  for (const [key, value] of Object.entries({ rows, run50, run99, queue99 })) series[key].push(value);
  while (times[0] < time - SPAN_S - 5) {
    times.shift();
    for (const values of Object.values(series)) values.shift();
  }
}

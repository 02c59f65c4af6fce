"""The page's style: light and dark by the reader's own setting, narrow enough for a phone, light on paper."""

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --ground: #f4f6f8; --card: #fff; --text: #17212f; --muted: #566273; --line: #e1e6ec;
  --before: #a3adba; --now: #2f5bd0; --warning: #8a5a00; --critical: #a31c36; --good: #0b6b4f;
  --s0: #2f5bd0; --s1: #b45f06; --s2: #0b7d6f; --s3: #c02679; --s4: #7a4fc0; }
@media screen and (prefers-color-scheme: dark) { :root { --ground: #0e131a; --card: #161d26; --text: #e5eaf1;
  --muted: #95a2b3; --line: #29333f; --before: #6f7c8c; --now: #7ea6ff; --warning: #ffc65c; --critical: #ff8c9d;
  --good: #5fd3a6; --s0: #7ea6ff; --s1: #f0a35e; --s2: #4fd1bd; --s3: #f28cc0; --s4: #b99af0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 68rem; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums; }
h1 { margin: 0; font-size: 1.5rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 0 0 .5rem; font-size: 1.1rem; }
h3 { margin: 1.25rem 0 .25rem; font-size: .95rem; }
p { margin: .25rem 0 .75rem; }
small, .muted { color: var(--muted); font-size: .85rem; }
code { font-size: .85em; overflow-wrap: anywhere; }
a { color: var(--now); }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin: .75rem 0; }
section, .cards > div { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
section { margin-top: 1rem; padding: 1rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin-top: 1rem; }
.cards > div { padding: .6rem .9rem; }
.cards b { display: block; font-size: 1.3rem; line-height: 1.4; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; min-width: 100%; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top;
  white-space: nowrap; }
th { color: var(--muted); font-size: .85rem; font-weight: 600; }
th:first-child, td:first-child, .words { text-align: left; }
th:first-child, td:first-child { position: sticky; left: 0; background: var(--card); }
tr:last-child > * { border-bottom: 0; }
td.cell small { color: inherit; } td small { display: block; }
.long { min-width: 16rem; white-space: normal; }
.warning { color: var(--warning); font-weight: 600; } .critical { color: var(--critical); font-weight: 600; }
.good { color: var(--good); } td.cell { background: color-mix(in srgb, var(--now) var(--share), transparent); }
.columns { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1.25rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 0 2rem; }
.pair > * { min-width: 0; }
figure { margin: 0; break-inside: avoid; } figcaption { font-weight: 600; overflow-wrap: anywhere; }
svg { display: block; width: 100%; overflow: visible; } .histogram { height: 7rem; } .course { height: 13rem; }
.square { height: auto; }
rect.before { fill: var(--before); } rect.now, circle { fill: var(--now); }
polyline { fill: none; } polyline, line { stroke: currentColor; stroke-width: 2; vector-effect: non-scaling-stroke; }
line.limit { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 4 4; }
line.frame { stroke: var(--line); stroke-width: 1; } line.interval { stroke: var(--now); stroke-width: 1.5; }
.plot { position: relative; margin-top: .75rem; padding-right: 2.2rem; }
.plot > small { position: absolute; right: 0; line-height: 1; transform: translateY(50%); }
.ends { display: flex; justify-content: space-between; gap: 1rem; color: var(--muted); font-size: .8rem; }
.key { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; }
.key i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 2px;
  background: currentColor; }
.curve { max-width: 22rem; }
.s-before { color: var(--before); }
.s0 { color: var(--s0); } .s1 { color: var(--s1); } .s2 { color: var(--s2); } .s3 { color: var(--s3); }
.s4 { color: var(--s4); }
@media (max-width: 40rem) { section { padding: .8rem; } th, td { padding: .3rem .45rem; } .long { min-width: 11rem; }
  th:first-child, td:first-child { min-width: 7rem; max-width: 8.5rem; white-space: normal;
    overflow-wrap: break-word; } }
@media print { body { padding: 0; max-width: none; font-size: 11px; } nav { display: none; }
  section { break-inside: auto; } h2, h3 { break-after: avoid; } tr, .pair > div { break-inside: avoid; }
  .wide { overflow: visible; } th, td { padding: .2rem .3rem; } .long { min-width: 0; }
  * { print-color-adjust: exact; } }
"""

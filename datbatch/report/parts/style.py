"""The page's style sheet."""

CSS = """
:root { --ink: #1a1a1a; --soft: #55595e; --rule: #c9ccd1; --tint: #f4f5f7; --accent: #00558c; --warn:
  #fff4d6; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0; color: var(--ink); background: #fff; line-height: 1.5;
  font: 16px/1.5 "Source Serif 4", "Charter", "Georgia", "DejaVu Serif", serif; }
main, header, footer { max-width: 1080px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 28px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.35rem; margin: 2.6rem 0 .6rem; padding-top: .5rem; border-top: 2px solid var(--ink); }
h3 { font-size: 1.08rem; margin: 1.6rem 0 .4rem; }
p, ol, ul { max-width: 46rem; }
.lead { color: var(--soft); margin-top: 0; }
.sans, table, nav, figcaption, .tiles, .notice, summary, svg text {
  font-family: "Source Sans 3", "Helvetica Neue", "Arial", "DejaVu Sans", sans-serif; }
.notice { background: var(--warn); border-left: 5px solid #b07800; padding: .6rem .9rem; margin: 1rem 0;
  max-width: none; }
.notice strong { display: block; }
nav ul { list-style: none; padding: 0; margin: 1rem 0 0; display: flex; flex-wrap: wrap; gap: .1rem 1.1rem;
  max-width: none; }
nav a { color: var(--accent); display: inline-block; padding: .25rem 0; }
a:focus-visible, figure:focus-visible, summary:focus-visible, .scroll:focus-visible {
  outline: 3px solid #0072b2; outline-offset: 2px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(215px, 1fr)); gap: 12px; margin:
  1.2rem 0; padding: 0; }
.tiles div { border-top: 3px solid var(--accent); background: var(--tint); padding: .6rem .8rem; }
.tiles dt { font-size: .86rem; color: var(--soft); }
.tiles dd { margin: 0; font-size: 1.6rem; font-weight: 600; line-height: 1.2; }
.tiles dd small { display: block; font-size: .82rem; font-weight: 400; color: var(--soft); line-height:
  1.35; margin-top: .15rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; min-width: 60%; }
caption { text-align: left; font-weight: 400; padding-bottom: .4rem;
  max-width: min(60rem, calc(100vw - 40px)); }
caption b, figcaption b { font-weight: 700; }
thead th { border-top: 1.5px solid var(--ink); border-bottom: 1px solid var(--ink); font-weight: 600;
  vertical-align: bottom; }
tbody tr:last-child > * { border-bottom: 1.5px solid var(--ink); }
tbody tr + tr > * { border-top: 1px solid #e4e6e9; }
th, td { padding: .28rem .6rem; text-align: right; vertical-align: top; }
tbody th, th.text, td.text { text-align: left; }
tbody th { font-weight: 500; }
td.text { min-width: 7rem; }
td small, th small { color: var(--soft); font-size: .86em; white-space: nowrap; display: block; }
tr.published > * { color: var(--soft); font-style: italic; }
figure { margin: 1.4rem 0; }
figure img { max-width: 100%; height: auto; display: block; }
figcaption { font-size: .88rem; color: #2b2e31; margin-top: .5rem; max-width: 60rem; }
.files { display: inline-block; color: var(--soft); white-space: normal; font-weight: 400; }
.files a, .beside a { color: var(--accent); }
.flag { font-weight: 700; color: #8a2b00; }
details { border: 1px solid var(--rule); padding: .3rem .8rem; margin: .8rem 0; }
summary { cursor: pointer; padding: .35rem 0; font-weight: 600; }
svg.flow { width: 100%; min-width: 540px; max-width: 720px; height: auto; display: block; }
svg.flow text { font-size: 14.5px; fill: var(--ink); }
svg.flow text.heading { font-weight: 600; }
svg.flow rect { fill: #fff; stroke: #3c4147; stroke-width: 1.2; }
svg.flow rect.side { fill: var(--tint); stroke: #8a8f96; }
svg.flow rect.set { fill: #eaf3fa; stroke: var(--accent); }
svg.flow .line { fill: none; stroke: #3c4147; stroke-width: 1.4; }
svg.flow .head { fill: #3c4147; }
code { font-size: .9em; overflow-wrap: anywhere; } td code, th code { white-space: nowrap; }
footer { padding-bottom: 40px; }
@media (max-width: 640px) {
  body { font-size: 15px; } h1 { font-size: 1.5rem; }
  .tiles { grid-template-columns: repeat(2, 1fr); } .tiles dd { font-size: 1.3rem; }
  td.text { min-width: 9rem; }
  figure { overflow-x: auto; } figcaption { position: sticky; left: 0; }
  figure > img { max-width: max(100%, 620px); }
}
@media print {
  @page { size: A4; margin: 14mm; }
  body { font-size: 10pt; } main, header, footer { max-width: none; padding: 0; }
  nav, .files, .beside { display: none; }
  h2 { break-after: avoid; } figure, tr, .tiles div, .notice { break-inside: avoid; }
  .scroll { overflow: visible; } table { font-size: 7.5pt; } th, td { padding: .15rem .3rem; }
  .notice, .tiles div, svg.flow rect { -webkit-print-color-adjust: exact;
    print-color-adjust: exact; }
}
"""
"""Text sizes in rem, so that a reader's own settings count; contrast of every text at least 4.5 to 1."""

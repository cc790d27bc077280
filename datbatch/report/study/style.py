"""What the page of one study adds to the common style sheet: its pictures, and one sheet of A4 paper."""

from __future__ import annotations

from datbatch.report.study import charts as study_charts
from datbatch.report.study import film as study_film
from datbatch.report.study import viewer as study_viewer

_PICTURES = """
.slices { display: flex; gap: 5px; align-items: flex-end; background: #000; padding: 4px; }
.slice { position: relative; background: #000; flex: 1 1 0; line-height: 1.2; min-width: 0; }
.slice img { display: block; width: 100%; height: auto; }
.slice span { position: absolute; top: 3px; color: #fff; font: 700 15px/1 sans-serif; text-shadow: 0 0 3px #000; }
.slice .left { left: 3px; } .slice .right { right: 3px; }
.slice small { display: block; color: #ddd; text-align: center; font: 12px/1.6 sans-serif; }
.scale { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; font: .82rem/1.4 sans-serif; margin-top: 6px; }
.scale img { width: 220px; height: 12px; border: 1px solid var(--rule); }
.mirroring { margin: .3rem 0 0; }
svg.binding { width: 100%; max-width: 800px; height: auto; display: block; }
svg.binding text { font-size: 15px; fill: var(--ink); }
svg.binding .grid { stroke: #e4e6e9; } svg.binding .normal { fill: #cfe3f1; }
svg.binding .mean { stroke: #00558c; stroke-width: 2; }
svg.binding .inside { fill: #00558c; } svg.binding .outside { fill: #c14a00; stroke: #fff; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(178px, 1fr)); } .tiles dd { font-size: 1.35rem; }
.tiles .alert { border-top-color: #b03a00; }
.doubt { border-left: 4px solid #b03a00; padding-left: .7rem; }
.facts { display: flex; flex-wrap: wrap; gap: 2px 22px; margin: .4rem 0; max-width: none;
  font: .9rem/1.5 "Source Sans 3",
  "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; }
.facts b { font-weight: 600; }
.made { font: .78rem/1.45 "Source Sans 3", "Helvetica Neue", Arial, "DejaVu Sans", sans-serif; color: var(--soft);
  max-width: none; overflow-wrap: anywhere; }
@media (max-width: 640px) { .slices { flex-wrap: wrap; } .slice { flex: 1 1 30%; }
  .viewer-canvas { aspect-ratio: 1.6; } }
"""
_PRINT = """
@media print {
  @page { size: A4; margin: 8mm 10mm; }
  html, body { font-size: 7.2pt; line-height: 1.22; }
  .screen { display: none !important; }
  header { padding-top: 0; } h1 { font-size: 13pt; margin: 0; } .lead { margin: 0; }
  h2 { font-size: 9pt; margin: 1.5mm 0 .5mm; padding-top: .5mm; border-top-width: 1px; }
  header .notice { display: none; } footer { padding: 0; } p { max-width: none; margin: .5mm 0; }
  .half p, .doubt { font-size: 6.7pt; }
  ul { margin: .7mm 0; padding-left: 5mm; columns: 2; }
  .notice { padding: 1mm 2.5mm; margin: 1.2mm 0 0; } .notice strong { display: inline; }
  .tiles { grid-template-columns: repeat(5, 1fr); gap: 2mm; margin: 1.5mm 0; }
  .tiles div { padding: 1mm 1.6mm; border-top-width: 2px; } .tiles dt, .tiles dd small { font-size: 6.2pt; }
  .tiles dd { font-size: 10pt; } .tiles dd small { line-height: 1.15; margin: 0; }
  figure { margin: 1mm 0; } figcaption { font-size: 6.3pt; margin-top: .4mm; max-width: none; }
  .slices { gap: 1px; padding: 1px 21mm; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  .slice span { font-size: 8pt; } .slice small { font-size: 6.4pt; line-height: 1.3; }
  .slice, .scale img, svg.binding .normal { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  .scale { font-size: 6.8pt; margin-top: .6mm; } .scale img { width: 40mm; height: 2mm; }
  main { display: grid; grid-template-columns: 1fr 1fr; column-gap: 5mm; }
  main > * { grid-column: 1 / -1; } main > .half { grid-column: auto; }
  .panels { grid-template-columns: 1fr 1fr; gap: 1mm; }
  .facts { font-size: 6.5pt; gap: 0 4mm; margin: .6mm 0; } .made { font-size: 6.4pt; line-height: 1.25; }
  .film { gap: 2mm; flex-wrap: nowrap; } .view { flex: 1 1 0; } .view img { width: 100%; height: auto; }
  .view span { font-size: 8pt; } .view small { font-size: 6.4pt; line-height: 1.3; }
  svg.binding { max-width: none; }
}
"""
CSS = _PICTURES + study_viewer.CSS + study_film.CSS + study_charts.CSS + _PRINT

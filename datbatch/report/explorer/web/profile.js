"use strict";
// A study's striatal regions at a glance: binding against the normal range, and relevance.

const Z_RANGE = [-8, 4];
const NORMAL_Z = 1.96;
const LINE = 30;
const LEFT = 128;
const [Z_LEFT, Z_WIDTH, R_LEFT, R_WIDTH] = [LEFT, 130, LEFT + 190, 90];

/** Draw the regions of `profile` for one study; `relevanceTop` is the end of the scale of relevance. */
function profileChart(profile, columnOf, row, relevanceTop) {
  const value = (name) => columnOf(name)?.numbers[row] ?? NaN;
  const words = (name) => columnOf(name)?.text(row) ?? NOTHING;
  const zPlace = (z) => Z_LEFT + (Z_WIDTH * (Math.max(Z_RANGE[0], Math.min(Z_RANGE[1], z)) - Z_RANGE[0])) / (Z_RANGE[1] - Z_RANGE[0]);
  const height = LINE * profile.length + 40;
  const text = (x, y, content, anchor = "start", name = "") =>
    makeSvg("text", { x, y, "text-anchor": anchor, class: name }, content);
  const parts = [
    makeSvg("rect", { class: "normal", x: zPlace(-NORMAL_Z), y: 18, width: zPlace(NORMAL_Z) - zPlace(-NORMAL_Z), height: LINE * profile.length }),
    text((zPlace(-NORMAL_Z) + zPlace(NORMAL_Z)) / 2, 12, "normal", "middle", "soft"),
    makeSvg("line", { class: "zero", x1: zPlace(0), x2: zPlace(0), y1: 18, y2: height - 22 }),
    ...[-8, -6, -4, -2, 0, 2, 4].map((z) => text(zPlace(z), height - 8, String(z).replace("-", "−"), "middle", "soft")),
    text(Z_LEFT + Z_WIDTH + 22, height - 8, "z", "middle", "soft"),
  ];
  const middle = R_LEFT + R_WIDTH / 2;
  if (relevanceTop > 0)
    parts.push(
      makeSvg("line", { class: "zero", x1: middle, x2: middle, y1: 18, y2: height - 22 }),
      text(middle, 12, "relevance", "middle", "soft"),
      text(R_LEFT, height - 8, "normal", "middle", "soft"),
      text(R_LEFT + R_WIDTH, height - 8, "reduced", "middle", "soft"),
    );
  profile.forEach((region, at) => {
    const y = 18 + LINE * (at + 0.5);
    const [z, relevance] = [value(region.z), value(region.relevance)];
    parts.push(text(0, y - 2, region.title), text(0, y + 11, `SBR ${words(region.ratio)}`, "start", "soft"));
    if (Number.isFinite(z)) {
      const outside = Math.abs(z) > NORMAL_Z ? "point out" : "point";
      parts.push(
        makeSvg("circle", { class: outside, cx: zPlace(z), cy: y, r: 5 }),
        text(Z_LEFT + Z_WIDTH + 22, y + 4, z.toFixed(1).replace("-", "−"), "middle"),
      );
    }
    if (relevanceTop > 0 && Number.isFinite(relevance)) {
      const reach = (R_WIDTH / 2) * Math.max(-1, Math.min(1, relevance / relevanceTop));
      parts.push(makeSvg("rect", { class: reach < 0 ? "against" : "towards", x: Math.min(middle, middle + reach), y: y - 6, width: Math.abs(reach), height: 12 }));
    }
  });
  const said = profile.map(({ title, ratio, z }) => `${title}: SBR ${words(ratio)}, z ${words(z)}`).join("; ");
  return makeSvg("svg", { class: "profile", viewBox: `-4 0 ${R_LEFT + R_WIDTH + 34} ${height}`, role: "img", "aria-label": said }, ...parts);
}

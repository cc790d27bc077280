"use strict";
// Points on a canvas: one mark each while they are few, shares of colour in small cells when they are many.

const MARKS_AT_MOST = 20000;
const DENSITY_CELL = 2;
/** How much of its colour a cell with a single point has, so that outliers are seen. */
const FAINTEST = 0.45;

function tracedShape(context, shape, radius) {
  const corners = {
    triangle: [[0, -1.15], [1.05, 0.75], [-1.05, 0.75]],
    square: [[-0.85, -0.85], [0.85, -0.85], [0.85, 0.85], [-0.85, 0.85]],
    diamond: [[0, -1.2], [1.2, 0], [0, 1.2], [-1.2, 0]],
    nabla: [[0, 1.15], [1.05, -0.75], [-1.05, -0.75]],
  }[shape];
  context.beginPath();
  if (!corners) context.arc(0, 0, radius, 0, 2 * Math.PI);
  else for (const [x, y] of corners) context.lineTo(x * radius, y * radius);
  context.closePath();
}

/** A picture of one mark, drawn once and copied for each point. */
function markPicture({ colour, shape }, radius, ratio, outlined) {
  const size = Math.ceil(2 * (radius * 1.3 + 1) * ratio);
  const picture = make("canvas", { width: size, height: size });
  const context = picture.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, size / 2, size / 2);
  tracedShape(context, shape, radius);
  context.fillStyle = css(colour);
  context.fill();
  if (outlined) {
    context.lineWidth = 0.8;
    context.strokeStyle = "rgb(0 0 0 / 0.65)";
    context.stroke();
  }
  return picture;
}

function markRadius(count) {
  return count < 300 ? 5 : count < 3000 ? 4 : 3;
}

/** Draw one mark for each point; those not chosen lie below, grey. */
function drawMarks({ context, ratio }, place, { xs, ys }, colouring, chosen) {
  const radius = markRadius(xs.length);
  const pictures = colouring.classes.map((one) => markPicture(one, radius, ratio, true));
  const below = markPicture({ colour: UNCHOSEN_COLOUR, shape: "circle" }, radius - 1, ratio, false);
  const draw = (picture, row) => {
    const size = picture.width / ratio;
    const [x, y] = [place.x(xs[row]), place.y(ys[row])];
    if (x - x === 0 && y - y === 0) context.drawImage(picture, x - size / 2, y - size / 2, size, size);
  };
  for (let row = 0; row < xs.length; row += 1) if (!chosen[row]) draw(below, row);
  for (let row = 0; row < xs.length; row += 1) if (chosen[row]) draw(pictures[colouring.classOf(row)], row);
}

/** Draw cells whose colour is the mean of their points' colours, and grows with the logarithm of their number. */
function drawDensity({ context }, place, { xs, ys }, colouring, chosen) {
  const { left, top, width, height } = place;
  const [columns, lines] = [Math.ceil(width / DENSITY_CELL), Math.ceil(height / DENSITY_CELL)];
  const sums = new Float32Array(4 * columns * lines);
  const others = new Uint32Array(columns * lines);
  let most = 1;
  for (let row = 0; row < xs.length; row += 1) {
    const column = Math.floor((place.x(xs[row]) - left) / DENSITY_CELL);
    const line = Math.floor((place.y(ys[row]) - top) / DENSITY_CELL);
    // NaN fails these comparisons, too.
    if (!(column >= 0 && column < columns && line >= 0 && line < lines)) continue;
    const cell = line * columns + column;
    if (!chosen[row]) {
      others[cell] += 1;
      continue;
    }
    const { colour } = colouring.classes[colouring.classOf(row)];
    sums[4 * cell] += colour[0];
    sums[4 * cell + 1] += colour[1];
    sums[4 * cell + 2] += colour[2];
    most = Math.max(most, (sums[4 * cell + 3] += 1));
  }
  const picture = new ImageData(columns, lines);
  const scale = (1 - FAINTEST) / Math.log1p(most);
  for (let cell = 0; cell < others.length; cell += 1) {
    const count = sums[4 * cell + 3];
    if (count === 0 && others[cell] === 0) continue;
    for (let channel = 0; channel < 3; channel += 1)
      picture.data[4 * cell + channel] = count ? sums[4 * cell + channel] / count : UNCHOSEN_COLOUR[channel];
    picture.data[4 * cell + 3] = count ? 255 * (FAINTEST + scale * Math.log1p(count)) : 255;
  }
  const small = make("canvas", { width: columns, height: lines });
  small.getContext("2d").putImageData(picture, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, left, top, columns * DENSITY_CELL, lines * DENSITY_CELL);
}

/** Round numbers between two ends, about one for each `spacing` of the length, and the power of ten they are told in. */
function ticksBetween(low, high, length, spacing) {
  const rough = (high - low) / Math.max(2, length / spacing);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= rough);
  const size = Math.floor(Math.log10(Math.max(Math.abs(low), Math.abs(high))));
  const exponent = size < -2 || size > 4 ? size : 0;
  const decimals = Math.max(0, exponent - Math.floor(Math.log10(step) + 1e-9));
  const ticks = [];
  for (let count = Math.ceil(low / step); count * step <= high; count += 1) {
    const text = count === 0 ? "0" : ((count * step) / 10 ** exponent).toFixed(decimals).replace("-", "−");
    ticks.push({ value: count * step, text });
  }
  return { ticks, exponent };
}

function axisTitle(column, exponent) {
  return exponent ? `${column.label}  × 10${raised(exponent)}` : column.label;
}

function drawAxes({ context }, place, view, xColumn, yColumn) {
  const { left, top, width, height } = place;
  context.font = "12px system-ui, sans-serif";
  context.lineWidth = 1;
  const line = (x0, y0, x1, y1, colour) => {
    context.strokeStyle = colour;
    context.beginPath();
    context.moveTo(Math.round(x0) + 0.5, Math.round(y0) + 0.5);
    context.lineTo(Math.round(x1) + 0.5, Math.round(y1) + 0.5);
    context.stroke();
  };
  context.fillStyle = "#3c4147";
  context.textAlign = "center";
  context.textBaseline = "top";
  const [across, upward] = [ticksBetween(view.x0, view.x1, width, 80), ticksBetween(view.y0, view.y1, height, 50)];
  for (const { value, text } of across.ticks) {
    line(place.x(value), top, place.x(value), top + height, value === 0 ? "#8a8f96" : "#eceef0");
    context.fillText(text, place.x(value), top + height + 6);
  }
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const { value, text } of upward.ticks) {
    line(left, place.y(value), left + width, place.y(value), value === 0 ? "#8a8f96" : "#eceef0");
    context.fillText(text, left - 6, place.y(value));
  }
  line(left, top, left, top + height, "#55595e");
  line(left, top + height, left + width, top + height, "#55595e");
  context.fillStyle = "#1a1a1a";
  context.textAlign = "center";
  context.textBaseline = "alphabetic";
  context.fillText(axisTitle(xColumn, across.exponent), left + width / 2, top + height + 36, width);
  context.textAlign = "left";
  context.fillText(axisTitle(yColumn, upward.exponent), 4, 14, left + width - 4);
}

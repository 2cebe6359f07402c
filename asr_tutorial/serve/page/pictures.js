// The pictures of one answer: mel, CTC posteriors, attention. Each says in words what it shows, too.

import { colourBar, FONT, image, inkScale, quantile, sharp, sideLabel, theme, timeAxis, viridis } from "./canvas.js";

const LEFT = 58; // room for the axis on the left, the same for all so that their times stand below each other
const RIGHT = 12;
/** CSS pixels that a second needs at least: for its letters to be read, and for marks alone. */
export const WITH_LETTERS = 150;
export const WITH_MARKS = 50;
const RANGE = 14; // nats from the loudest shown to the quietest, some 60 dB
const ROW = 15; // of a token in the attention map

/** Width that a picture of so many seconds has: that of its frame, or more if it would be too dense. */
export function pictureWidth(frame, seconds, perSecond) {
  return Math.max(frame.clientWidth, Math.round(LEFT + RIGHT + seconds * perSecond));
}

/** Seconds at a place of a picture. */
export function secondsAt(x, width, seconds) {
  return Math.max(0, Math.min(seconds, ((x - LEFT) / (width - LEFT - RIGHT)) * seconds));
}

/** Place of a time in a picture. */
export function placeOf(time, width, seconds) {
  return LEFT + (time / seconds) * (width - LEFT - RIGHT);
}

const melOf = (hertz) => 1127 * Math.log(1 + hertz / 700);

/** The sound as the model gets it, with the words' edges and the tokens on it. */
export function drawMel(canvas, { mel, words, alignment, seconds }, width) {
  const height = canvas.clientHeight;
  const colours = theme();
  const context = sharp(canvas, width, height);
  const box = { x: LEFT, y: 38, width: width - LEFT - RIGHT, height: height - 38 - 22 };
  const shown = mel.values.length * mel.frame_shift;
  // Digital silence lies far below everything else and would take up the whole scale.
  const high = quantile(mel.values, 0.999);
  const low = Math.max(quantile(mel.values, 0.02), high - RANGE);
  image(context, mel.values, (value) => viridis((value - low) / (high - low || 1)), { ...box, width: (shown / seconds) * box.width });
  timeAxis(context, { x: box.x, y: box.y + box.height, width: box.width }, seconds, colours);
  context.textAlign = "right";
  context.strokeStyle = colours.edge;
  context.lineWidth = 1;
  for (const hertz of [250, 500, 1000, 2000, 4000]) {
    if (hertz >= mel.high_hz || hertz <= mel.low_hz) continue;
    const share = (melOf(hertz) - melOf(mel.low_hz)) / (melOf(mel.high_hz) - melOf(mel.low_hz));
    const y = Math.round(box.y + box.height * (1 - share)) + 0.5;
    context.fillStyle = colours.soft;
    context.fillText(hertz >= 1000 ? `${hertz / 1000}k` : hertz, LEFT - 8, y);
    context.beginPath();
    context.moveTo(LEFT - 4, y);
    context.lineTo(LEFT, y);
    context.stroke();
  }
  sideLabel(context, "Hz, mel scale", 10, box.y + box.height / 2, colours);
  const ends = [-Infinity, -Infinity];
  for (const { word, start, end } of words.filter(timed)) {
    const [from, to] = [placeOf(start, width, seconds), placeOf(end, width, seconds)];
    context.fillStyle = "rgb(255 255 255 / 14%)";
    context.fillRect(from, box.y, to - from, box.height);
    context.strokeStyle = "rgb(255 255 255 / 85%)";
    for (const x of [from, to]) {
      context.beginPath();
      context.moveTo(x, box.y);
      context.lineTo(x, box.y + box.height);
      context.stroke();
    }
    // Two lines of words, so that short words with long names do not overlap.
    const half = context.measureText(word).width / 2 + 4;
    const middle = Math.max(LEFT + half, Math.min(width - RIGHT - half, (from + to) / 2));
    const line = ends[0] <= middle - half ? 0 : ends[1] <= middle - half ? 1 : -1;
    if (line < 0) continue;
    ends[line] = middle + half;
    context.textAlign = "center";
    context.fillStyle = colours.ink;
    context.fillText(word, middle, line === 0 ? 28 : 10);
  }
  context.textAlign = "center";
  context.lineWidth = 3;
  for (const { token, start, end } of alignment.tokens ?? []) {
    if (!shows(token)) continue;
    const at = [placeOf((start + end) / 2, width, seconds), box.y + box.height - 10];
    context.strokeStyle = "rgb(0 0 0 / 75%)";
    context.strokeText(token, ...at);
    context.fillStyle = "#ffffff";
    context.fillText(token, ...at);
  }
}

/** How probable each token is at each moment, as narrow hills; the blank is the grey line. */
export function drawPosteriors(canvas, { alignment, seconds }, width) {
  const height = canvas.clientHeight;
  const colours = theme();
  const context = sharp(canvas, width, height);
  const { tokens, columns, frame_shift: step, start: begin } = alignment;
  const posteriors = alignment.posteriors.values;
  const blank = columns.length - 1; // the last column
  const box = { x: LEFT, y: 26, width: width - LEFT - RIGHT, height: height - 26 - 22 };
  const yOf = (share) => box.y + box.height * (1 - share);
  const xOf = (frame) => placeOf(begin + (frame + 0.5) * step, width, seconds);
  context.textAlign = "right";
  for (const share of [0, 0.5, 1]) {
    context.fillStyle = colours.soft;
    context.fillText(share, LEFT - 8, yOf(share));
    context.strokeStyle = colours.line;
    context.beginPath();
    context.moveTo(LEFT, Math.round(yOf(share)) + 0.5);
    context.lineTo(LEFT + box.width, Math.round(yOf(share)) + 0.5);
    context.stroke();
  }
  sideLabel(context, "probability", 10, box.y + box.height / 2, colours);
  const line = (values, first, last) => {
    context.beginPath();
    for (let frame = first; frame < last; frame++) context.lineTo(xOf(frame), yOf(values(frame)));
  };
  context.save();
  context.beginPath();
  context.rect(box.x, 0, box.width, height); // the first frame begins before the sound does
  context.clip();
  context.strokeStyle = colours.edge;
  context.lineWidth = 1;
  line((frame) => posteriors[frame][blank], 0, posteriors.length);
  context.stroke();
  const frames = (tokens ?? []).map(({ start, end }) => [start, end].map((time) => Math.round((time - begin) / step)));
  tokens?.forEach(({ token }, index) => {
    if (!shows(token)) return;
    // The same letter comes several times: each curve reaches from the token before to the token after.
    const first = Math.max((index ? frames[index - 1][1] : 0) - 1, 0);
    const last = Math.min((frames[index + 1]?.[0] ?? posteriors.length) + 1, posteriors.length);
    const colour = index % 2 ? colours.wrong : colours.accent;
    const values = (frame) => posteriors[frame][index];
    context.strokeStyle = context.fillStyle = colour;
    context.lineWidth = 1.5;
    line(values, first, last);
    context.stroke();
    context.globalAlpha = 0.22;
    context.lineTo(xOf(last - 1), yOf(0));
    context.lineTo(xOf(first), yOf(0));
    context.fill();
    context.globalAlpha = 1;
    const peak = peakOf(values, ...frames[index], posteriors.length);
    context.textAlign = "center";
    context.fillText(token, xOf(peak), yOf(values(peak)) - 9);
  });
  context.restore();
  timeAxis(context, { x: box.x, y: box.y + box.height, width: box.width }, seconds, colours);
}

/** Where each token looked: a row for each, time to the right. */
export function drawAttention(canvas, { attention, seconds }, width) {
  const { tokens, values: weights, frame_shift: step, start } = attention;
  const height = 30 + tokens.length * ROW + 24;
  canvas.style.setProperty("width", `${width}px`);
  canvas.style.setProperty("height", `${height}px`);
  const colours = theme();
  const context = sharp(canvas, width, height);
  const box = { x: LEFT, y: 30, width: width - LEFT - RIGHT, height: tokens.length * ROW };
  const ink = inkScale(colours);
  // A few sharp weights would leave the rest invisible: full ink is the 99.5th percentile.
  const full = Math.max(quantile(weights, 0.995), 1e-6);
  const columns = weights[0].map((_, frame) => weights.map((row) => row[frame]));
  context.save();
  context.beginPath();
  context.rect(box.x, box.y, box.width, box.height); // the first frame begins before the sound does
  context.clip();
  const wide = (columns.length * step * box.width) / seconds;
  image(context, columns, (weight) => ink(weight / full), { ...box, x: placeOf(start, width, seconds), width: wide, top: true });
  context.restore();
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  context.strokeRect(box.x + 0.5, box.y + 0.5, box.width - 1, box.height - 1);
  context.font = FONT;
  context.fillStyle = colours.ink;
  context.textAlign = "right";
  tokens.forEach((token, row) => context.fillText(spoken(token), LEFT - 8, box.y + (row + 0.5) * ROW));
  colourBar(context, ink, { x: LEFT + 58, y: 6, width: 90, height: 12 }, "nothing", "much", colours);
  timeAxis(context, { x: box.x, y: box.y + box.height, width: box.width }, seconds, colours);
}

/** The mel picture in words. */
export function sayMel({ mel, words, seconds }) {
  const energies = mel.values.map((frame) => frame.reduce((sum, value) => sum + value, 0) / frame.length);
  const loudest = energies.indexOf(Math.max(...energies)) * mel.frame_shift;
  const said = words.filter(timed).map(({ word, start, end }) => `${word} from ${start.toFixed(2)} to ${end.toFixed(2)}`).join(", ");
  return (
    `Mel picture: ${seconds.toFixed(1)} seconds of sound in ${mel.values[0].length} bands from ${Math.round(mel.low_hz)} to ` +
    `${Math.round(mel.high_hz)} hertz, loudest at ${loudest.toFixed(1)} seconds. Words, in seconds: ${said || "none"}.`
  );
}

/** The posteriors in words. */
export function sayPosteriors({ alignment }) {
  const rows = alignment.posteriors.values;
  const share = rows.filter((row) => row[row.length - 1] > 0.5).length / rows.length;
  const peaks = alignment.tokens
    ? `${alignment.tokens.length} tokens as narrow peaks, listed in the table below`
    : "the text has no path in the sound, so that no token has a place";
  return `CTC posteriors: ${peaks}; in ${Math.round(100 * share)} percent of the moments blank is more probable than all tokens.`;
}

/** The attention map in words. */
export function sayAttention({ attention }) {
  const looks = attention.tokens.map((token, row) => `${spoken(token)} ${lookOf(attention, row).toFixed(2)}`);
  return `Cross-attention: the second at which each token looks most. ${looks.join(", ")}.`;
}

/** Seconds at which a token looks most. */
export function lookOf({ values, start, frame_shift: step }, row) {
  return Math.max(0, start + (values[row].indexOf(Math.max(...values[row])) + 0.5) * step);
}

/** Probability of a token at its peak. */
export function peakProbability({ tokens, posteriors, start, frame_shift: step }, index) {
  const values = (frame) => posteriors.values[frame][index];
  const edges = [tokens[index].start, tokens[index].end].map((time) => Math.round((time - start) / step));
  return values(peakOf(values, ...edges, posteriors.values.length));
}

/** A token as it can be read: the space between words has no letter of its own. */
export function spoken(token) {
  if (token === "▁" || token === " ") return "space";
  return token.replace(/^<eos>$/, "end");
}

function timed({ start }) {
  return start != null;
}

function shows(text) {
  return text.trim() !== "" && text !== "▁";
}

function peakOf(values, first, last, frames) {
  let best = Math.max(0, Math.min(first, frames - 1));
  for (let frame = best; frame < Math.min(last, frames); frame++) if (values(frame) > values(best)) best = frame;
  return best;
}

// What all pictures share: sharp pixels, the colours of asr_tutorial/plots.py, axes.

const VIRIDIS = [
  0x440154, 0x48186a, 0x472d7b, 0x424086, 0x3b528b, 0x33638d, 0x2c728e, 0x26828e, 0x21918c, 0x1fa088, 0x28ae80,
  0x3fbc73, 0x5ec962, 0x84d44b, 0xaddc30, 0xd8e219, 0xfde725,
].map(channels);

export const FONT = '12px system-ui, "Segoe UI", Roboto, sans-serif';

export function channels(colour) {
  return [colour >> 16, (colour >> 8) & 255, colour & 255];
}

function between(low, high, share) {
  return low.map((value, index) => Math.round(value + (high[index] - value) * share));
}

/** Energies: dark is little, bright is much, evenly, so that it survives grey print and colour blindness. */
export function viridis(share) {
  const place = Math.max(0, Math.min(1, share)) * (VIRIDIS.length - 1);
  const below = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return between(VIRIDIS[below], VIRIDIS[below + 1], place - below);
}

/** The page's colours as they are now, light or dark, as #rrggbb. */
export function theme() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(
    ["ink", "soft", "card", "line", "edge", "accent", "wrong"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]),
  );
}

/** Weights: the paper is nothing, ink is much. */
export function inkScale({ card, ink }) {
  const [paper, full] = [card, ink].map((colour) => channels(parseInt(colour.slice(1), 16)));
  return (share) => between(paper, full, Math.max(0, Math.min(1, share)));
}

/** Makes a canvas as sharp as the screen; returns its context in CSS pixels, cleared. */
export function sharp(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = FONT;
  context.textBaseline = "middle";
  return context;
}

/** Draws columns of values, values[column][row], into a box; row 0 is at the bottom, or at the top if so asked. */
export function image(context, values, colour, { x, y, width, height, top = false }) {
  const [columns, rows] = [values.length, values[0].length];
  const small = document.createElement("canvas");
  [small.width, small.height] = [columns, rows];
  const pixels = new ImageData(columns, rows);
  for (let column = 0; column < columns; column++)
    for (let row = 0; row < rows; row++) {
      const at = 4 * ((top ? row : rows - 1 - row) * columns + column);
      pixels.data.set(colour(values[column][row]), at);
      pixels.data[at + 3] = 255;
    }
  small.getContext("2d").putImageData(pixels, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(small, x, y, width, height);
}

/** The value below which a share of all values lies. */
export function quantile(rows, share) {
  const sorted = Float64Array.from(rows.flat()).sort();
  return sorted[Math.min(sorted.length - 1, Math.round(share * (sorted.length - 1)))];
}

/** A time axis below a box, with ticks that leave room for their figures. */
export function timeAxis(context, { x, y, width }, seconds, colours) {
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10].find((each) => (each / seconds) * width >= 44) ?? 20;
  context.strokeStyle = colours.edge;
  context.fillStyle = colours.soft;
  context.lineWidth = 1;
  context.textAlign = "center";
  context.beginPath();
  context.moveTo(x, y + 0.5);
  context.lineTo(x + width, y + 0.5);
  for (let tick = 0; tick * step <= seconds + 1e-9; tick++) {
    const at = Math.round(x + ((tick * step) / seconds) * width) + 0.5;
    context.moveTo(at, y);
    context.lineTo(at, y + 4);
    if (at < x + width - 62) context.fillText((tick * step).toFixed(step < 1 ? 1 : 0), at, y + 13);
  }
  context.stroke();
  context.textAlign = "right";
  context.fillText("time (s)", x + width, y + 13);
}

/** A label along the left edge, read from below. */
export function sideLabel(context, text, x, middle, colours) {
  context.save();
  context.translate(x, middle);
  context.rotate(-Math.PI / 2);
  context.textAlign = "center";
  context.fillStyle = colours.soft;
  context.fillText(text, 0, 0);
  context.restore();
}

/** A bar of a colour map with words at its ends. */
export function colourBar(context, colour, { x, y, width, height }, low, high, colours) {
  for (let at = 0; at < width; at++) {
    context.fillStyle = `rgb(${colour(at / (width - 1)).join(" ")})`;
    context.fillRect(x + at, y, 1, height);
  }
  context.strokeStyle = colours.edge;
  context.lineWidth = 1;
  context.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
  context.fillStyle = colours.soft;
  context.textAlign = "right";
  context.fillText(low, x - 6, y + height / 2);
  context.textAlign = "left";
  context.fillText(high, x + width + 6, y + height / 2);
}

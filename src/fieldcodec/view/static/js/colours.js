// Colour maps from the server: 256 colours each, red, green, blue.

let maps = {};

export function setMaps(tables) {
  maps = Object.fromEntries(Object.entries(tables).map(([name, table]) => [name, Uint8Array.from(table)]));
}

/** 256 colours as a flat Uint8Array. */
export const table = (name) => maps[name];

/** The colours of many numbers as RGBA bytes; what is outside the scale gets the colour of its end. */
export function paint(values, name, [low, high], rgba) {
  const colours = maps[name];
  const factor = high > low ? 255 / (high - low) : 0;
  for (let i = 0; i < values.length; i++) {
    const place = 3 * Math.min(255, Math.max(0, Math.round((values[i] - low) * factor)));
    rgba[4 * i] = colours[place];
    rgba[4 * i + 1] = colours[place + 1];
    rgba[4 * i + 2] = colours[place + 2];
    rgba[4 * i + 3] = 255;
  }
}

/** A vertical bar with numbers at both ends and in the middle. */
export function drawLegend(element, name, [low, high], isClipped) {
  const stops = [];
  for (let i = 0; i <= 8; i++) {
    const at = 3 * Math.round((255 * i) / 8);
    stops.push(`rgb(${maps[name].slice(at, at + 3).join(" ")})`);
  }
  element.style.background = `linear-gradient(to top, ${stops.join(", ")})`;
  element.replaceChildren();
  for (const share of [0, 0.5, 1]) {
    const mark = document.createElement("span");
    const value = low + share * (high - low);
    const rounded = Math.abs(value) < 2e-3 * (high - low) ? 0 : value;
    mark.textContent = (share === 1 && isClipped ? "> " : "") + short(rounded);
    mark.style.top = `${100 * (1 - share)}%`;
    element.append(mark);
  }
  element.hidden = false;
}

/** A number with three digits or so. */
export function short(value) {
  if (!Number.isFinite(value)) return "-";
  const size = Math.abs(value);
  if (size && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(3)));
}

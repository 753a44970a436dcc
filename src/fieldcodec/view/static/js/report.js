// The report beside the pictures: sizes, quality, what the file is made of.

import { short } from "./colours.js";

const PALETTE = ["#2f6db5", "#e08e2b", "#3f9a68", "#b5483f", "#7d5ba6", "#8a6d4f", "#c96f9e", "#6f7782", "#a8a436", "#3aa3ad"];

/** Bytes with three digits or so. */
export function size(bytes) {
  if (bytes == null) return "-";
  for (const [unit, name] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]]) {
    if (bytes >= unit) return `${Number((bytes / unit).toPrecision(3))} ${name}`;
  }
  return `${bytes} bytes`;
}

/** `found` is the answer to "report", null while it is worked out, or an Error. */
export function drawReport(holder, about, grid, facts, found) {
  const parts = [cards(about, grid, found)];
  if (grid.has_original) parts.push(...quality(found));
  else if (about.has_originals) parts.push(note("The original has no grid like this one, so errors are not known."));
  else if (grid.bytes != null) parts.push(note("Start with --original and the file this came from to see errors."));
  parts.push(heading("Grid"), list([
    ["values", grid.value_type], ["class", grid.grid_class], ["stored as", grid.method],
    ["active voxels", grid.active_voxels?.toLocaleString("en")], ["leaves", facts?.nodes.leaves.toLocaleString("en")],
    ["box", facts?.box && facts.box[1].map((end, axis) => end - facts.box[0][axis] + 1).join(" × ")],
    ["voxel size", facts?.voxel_size && [...new Set(facts.voxel_size.map(short))].join(" × ")],
    ["smallest, largest", facts && facts.range.map(short).join(", ")],
  ]));
  if (Object.keys(grid.sections).length) parts.push(heading("Sections of the file"), ...sections(grid.sections));
  holder.replaceChildren(...parts);
  holder.setAttribute("aria-busy", String(!found));
}

function cards(about, grid, found) {
  const holder = element("div", "cards");
  const times = (before, after) => (before && after ? `${short(before / after)} ×` : "-");
  const facts = [[size(about.bytes), about.frames.length > 1 ? `${about.frames.length} frames` : "file"]];
  if (about.original_bytes) facts.push([times(about.original_bytes, about.bytes), `smaller than ${about.original}`]);
  if (grid.bytes != null) {
    if (!about.original_bytes) facts.push([found?.ratio_raw ? `${short(found.ratio_raw)} ×` : "…", "smaller than the bare tree"]);
    facts.push([bits(grid), "bits per active voxel"]);
    facts.push([size(grid.bytes), about.frames.length > 1 ? "this grid, this frame" : "this grid"]);
  }
  for (const [value, name] of facts) {
    const card = element("div", "card");
    card.append(element("b", "", value), element("span", "", name));
    holder.append(card);
  }
  return holder;
}

const bits = (grid) => (grid.active_voxels ? short((8 * grid.bytes) / grid.active_voxels) : "-");

function quality(found) {
  if (!found) return [heading("Quality"), note("Measuring …")];
  if (found instanceof Error) return [heading("Quality"), note(found.message)];
  const q = found.quality;
  if (!q) return [];
  const percent = (share) => (share == null ? "" : ` (${short(100 * share)} %)`);
  const number = (value, more = "") => (value == null ? null : short(value) + more);
  const rows = [
    ["topology", q.topology_identical ? "exact" : `${q.topology_differs.toLocaleString("en")} differ`, q.topology_identical ? "good" : "bad"],
    ["RMSE", q.rmse == null ? null : short(q.rmse) + percent(q.rmse_relative)],
    ["largest error", q.max_error == null ? null : short(q.max_error) + percent(q.max_error_relative)],
    ["PSNR", number(q.psnr, " dB")],
    ["IoU", q.iou == null ? null : q.iou.toFixed(6)],
    ["mCD", number(q.mcd, " voxels")],
    ["voxels compared", q.compared_voxels.toLocaleString("en")],
  ];
  const exact = q.topology_identical && !q.max_error && !q.nonfinite_differs && !q.inactive_differs;
  return [heading("Quality"), list(rows), ...(exact ? [note("Every value is the original's, bit for bit or equal to it.")] : [])];
}

function sections(bytes) {
  const sorted = Object.entries(bytes).sort((a, b) => b[1] - a[1]);
  const total = sorted.reduce((sum, [, length]) => sum + length, 0) || 1;
  const bar = element("div", "shares");
  const rows = element("dl");
  sorted.forEach(([name, length], number) => {
    const colour = PALETTE[number % PALETTE.length];
    const part = element("i");
    part.style.background = colour;
    part.style.flex = `${length / total} 0 0`;
    part.title = name;
    bar.append(part);
    const swatch = element("i", "swatch");
    swatch.style.background = colour;
    const term = element("dt");
    term.append(swatch, name);
    rows.append(term, element("dd", "", `${length.toLocaleString("en")} (${short((100 * length) / total)} %)`));
  });
  return [bar, rows];
}

function list(rows) {
  const holder = element("dl");
  for (const [name, value, look] of rows) {
    if (value != null && value !== "") holder.append(element("dt", "", name), element("dd", look ?? "", value));
  }
  return holder;
}

const heading = (text) => element("h2", "", text);
const note = (text) => element("p", "note", text);

function element(tag, look = "", text = null) {
  const made = document.createElement(tag);
  if (look) made.className = look;
  if (text !== null) made.textContent = text;
  return made;
}

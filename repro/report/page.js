"use strict";
// Sorting: a column's head becomes a button; numbers sort by their exact values, what was not run comes last.
for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0];
  const original = [...body.rows];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: "none" }[head.getAttribute("aria-sort")] || "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      if (next !== "none") head.setAttribute("aria-sort", next);
      body.append(...(next === "none" ? original : sorted(original, column, next === "ascending" ? 1 : -1)));
    });
  });
}
function value(row, column) {
  const cell = row.cells[column];
  const exact = cell.dataset.value;
  if (exact === undefined) {
    const text = cell.textContent.trim();
    return { text, known: text !== "" && text !== "not run" };
  }
  const number = Number(exact.replace("inf", "Infinity"));
  return { number, text: cell.textContent, known: !Number.isNaN(number) };
}
function sorted(rows, column, sign) {
  const keyed = rows.map((row, index) => ({ row, index, ...value(row, column) }));
  const numeric = keyed.some((one) => one.number !== undefined);
  keyed.sort((a, b) => {
    if (a.known !== b.known) return a.known ? -1 : 1;
    const order = numeric && a.known ? a.number - b.number || 0 : a.text.localeCompare(b.text, "en", { numeric: true });
    return sign * order || a.index - b.index;
  });
  return keyed.map((one) => one.row);
}

// Filtering the claims.
const search = document.getElementById("search");
const paper = document.getElementById("paper");
const verdict = document.getElementById("verdict");
const claims = [...document.querySelectorAll("#tbl-page-claims tbody tr")];
function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  let shown = 0;
  for (const row of claims) {
    const text = row.textContent.toLowerCase();
    row.hidden = !(words.every((word) => text.includes(word)) && (!paper.value || row.dataset.paper === paper.value)
      && (!verdict.value || row.dataset.verdict === verdict.value));
    shown += !row.hidden;
  }
  document.getElementById("shown").textContent = `${shown} of ${claims.length} claims`;
}
for (const input of [search, paper, verdict]) input.addEventListener("input", filter);
document.querySelector(".filter").addEventListener("submit", (event) => event.preventDefault());
filter();

// Enlarging a figure.
const viewer = document.getElementById("viewer");
const stage = viewer.querySelector(".stage");
let scale = 1;
function zoom(factor) {
  const image = stage.firstElementChild;
  if (!image) return;
  const fit = Math.min(stage.clientWidth / image.naturalWidth, stage.clientHeight / image.naturalHeight) || 1;
  scale = factor === 0 ? fit : Math.min(Math.max(scale * factor, fit / 2), 12);
  image.style.width = `${Math.round(image.naturalWidth * scale)}px`;
}
for (const button of document.querySelectorAll("button.zoom")) {
  button.addEventListener("click", () => {
    const image = button.querySelector("img").cloneNode();
    image.removeAttribute("width");
    image.removeAttribute("height");
    stage.replaceChildren(image);
    viewer.showModal();
    image.decode().then(() => zoom(0));
    stage.focus();
  });
}
viewer.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if ("close" in button.dataset) viewer.close();
  else zoom(Number(button.dataset.zoom));
});
viewer.addEventListener("keydown", (event) => {
  const factor = { "+": 1.25, "=": 1.25, "-": 0.8, "0": 0 }[event.key];
  if (factor === undefined) return;
  event.preventDefault();
  zoom(factor);
});
viewer.addEventListener("close", () => stage.replaceChildren());

// A link to a claim opens it.
function open() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const details = target && target.matches("tr") && target.querySelector("details");
  if (details) details.open = true;
}
addEventListener("hashchange", open);
open();

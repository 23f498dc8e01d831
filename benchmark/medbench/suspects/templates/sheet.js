"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const find = (id) => document.getElementById(id);
const cards = [...document.querySelectorAll("#cards > li")];
const store = `medbench-suspects-${data.content_hash}`;
let decisions = []; // in the order in which they were made: {id, label, skipped, who, why, when}
let current = 0;

const of = (card) => decisions.find((made) => made.id === card.dataset.id);
const cardOf = (made) => cards.find((card) => card.dataset.id === made.id);
const shown = () => cards.filter((card) => !card.hidden);

function remember() {
  try { localStorage.setItem(store, JSON.stringify({ who: find("who").value, decisions })); } catch { /* private window */ }
}

function recall() {
  try {
    const kept = JSON.parse(localStorage.getItem(store));
    if (!kept) return;
    find("who").value = kept.who;
    decisions = kept.decisions;
  } catch { /* nothing is kept */ }
}

function draw() {
  for (const card of cards) {
    const made = of(card);
    const [kept, text] = made ? [made.label === +card.dataset.label, data.classes[made.label]] : [];
    card.querySelector(".decision").textContent = made ? (made.skipped ? "skipped" : kept ? `kept: ${text}` : `corrected: ${text}`) : "";
    card.toggleAttribute("data-decision", Boolean(made));
    if (card === cards[current]) card.setAttribute("aria-current", "true");
    else card.removeAttribute("aria-current");
  }
  const here = decisions.filter(cardOf); // another sheet of the same images may have shown others
  const saved = here.filter((made) => !made.skipped);
  const corrected = saved.filter((made) => made.label !== +cardOf(made).dataset.label);
  find("said").textContent = `${corrected.length} corrected, ${saved.length - corrected.length} kept, ${here.length - saved.length} skipped; ${cards.length - here.length} left.`;
}

function go(card) {
  if (!card) return;
  current = cards.indexOf(card);
  draw();
  card.scrollIntoView({ block: "nearest" });
}

function move(step) {
  const visible = shown();
  go(visible[Math.max(0, Math.min(visible.length - 1, visible.indexOf(cards[current]) + step))]);
}

function decide(label, skipped = false) {
  const card = cards[current];
  if (!card || card.hidden) return;
  decisions = decisions.filter((made) => made.id !== card.dataset.id);
  decisions.push({ id: card.dataset.id, label, skipped, who: find("who").value.trim(), why: find("why").value, when: new Date().toISOString() });
  find("why").value = ""; // a reason is that of one image
  remember();
  const visible = shown(), place = visible.indexOf(card);
  go(visible.slice(place + 1).find((next) => !of(next)) ?? card);
}

function takeBack() {
  const last = decisions.pop();
  if (!last) return;
  remember();
  const card = cardOf(last);
  if (card?.hidden) { find("filter").value = ""; filter(); }
  go(card);
}

function filter() {
  const label = find("filter").value;
  for (const card of cards) card.hidden = label !== "" && card.dataset.label !== label;
  if (cards[current]?.hidden) go(shown()[0]);
}

function save() {
  const who = find("who").value.trim();
  if (!who) { find("said").textContent = "Write your name into Reviewer first."; find("who").focus(); return; }
  for (const made of decisions) made.who ||= who;
  remember();
  const quote = (text) => `"${String(text).replaceAll('"', '""')}"`;
  const rows = decisions.filter((made) => !made.skipped)
    .map((made) => [made.id, data.classes[made.label], made.who, made.when, made.why, data.content_hash]);
  if (!rows.length) { find("said").textContent = "No decision to save."; return; }
  const text = [["id", "label", "who", "when", "why", "content_hash"], ...rows].map((row) => row.map(quote).join(",")).join("\n") + "\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = `${data.name.replaceAll(/[^\w.@-]/g, "-")}-corrections.csv`;
  link.click();
  URL.revokeObjectURL(link.href);
  find("said").textContent = `${rows.length} decisions saved. Next: medbench relabel --dataset ${data.name} ${link.download}${data.cache}`;
}

const keys = {
  a: () => decide(+cards[current].dataset.suggested),
  k: () => decide(+cards[current].dataset.label),
  s: () => decide(+cards[current].dataset.label, true),
  u: takeBack,
  ArrowRight: () => move(1),
  ArrowLeft: () => move(-1),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
  const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (act) { event.preventDefault(); act(); }
});
for (const [id, act] of [["accept", keys.a], ["keep", keys.k], ["skip", keys.s], ["undo", keys.u], ["save", save]]) find(id).addEventListener("click", act);
find("filter").addEventListener("change", filter);
find("who").addEventListener("change", remember);
find("other").addEventListener("change", (event) => {
  if (event.target.value !== "") decide(+event.target.value);
  event.target.value = "";
  event.target.blur(); // keys are for the images again
});
for (const card of cards) card.addEventListener("click", () => go(card));

recall();
find("bar").hidden = false;
go(cards.find((card) => !of(card)) ?? cards[0]);

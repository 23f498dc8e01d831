// Figures: series switch in the legend, values are read off under the pointer, numbers are shown.
for (const section of document.querySelectorAll(".chart")) {
  const data = page.charts[section.id];
  if (!data) continue;
  const figures = [...section.querySelectorAll("figure")];
  const labels = new Map(); // series number to label
  const switched = new Set(); // series switched off in the legend
  let filtered = () => false;

  const draw = () => {
    for (const group of section.querySelectorAll("g[data-s]")) {
      const number = group.dataset.s;
      group.classList.toggle("off", switched.has(number) || filtered(labels.get(number)));
    }
  };

  for (const item of section.querySelectorAll(".legend li[data-series]")) {
    const number = item.dataset.series;
    labels.set(number, item.textContent.trim());
    const button = page.button(null, () => {
      if (!switched.delete(number)) switched.add(number);
      button.setAttribute("aria-pressed", String(!switched.has(number)));
      draw();
    });
    button.setAttribute("aria-pressed", "true");
    button.title = "show or hide";
    button.append(...item.childNodes);
    item.append(button);
  }

  const visible = () => figures.filter((figure) => !figure.hidden).map((figure) => data.panels[figure.dataset.panel]);
  const head = ["panel", "where", ...data.columns];
  const rows = () => visible().flatMap((panel) => panel.rows.map((row) => [panel.title, panel.where, ...row]));

  // the numbers as a table, made when it is asked for
  const numbers = page.element("details", undefined, "table");
  numbers.append(page.element("summary", "Numbers of this figure"));
  const fill = () => {
    if (!numbers.open) return;
    const table = page.element("table", undefined, "plain");
    const line = (cells, tag) => {
      const row = page.element("tr");
      row.append(...cells.map((cell) => page.element(tag, cell, typeof cell === "number" ? "num" : "")));
      return row;
    };
    const [top, body] = [page.element("thead"), page.element("tbody")];
    top.append(line(head, "th"));
    for (const cell of top.querySelectorAll("th")) cell.scope = "col";
    const all = rows();
    body.append(...all.slice(0, 500).map((row) => line(row.map((v) => (v === null ? "–" : v)), "td")));
    table.append(top, body);
    const scroll = page.element("div", undefined, "scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", `Numbers of ${section.querySelector("h3").textContent}`);
    scroll.append(table);
    const note = all.length > 500 ? page.element("p", `The first 500 of ${all.length} rows; the CSV file has all.`, "quiet") : "";
    numbers.replaceChildren(numbers.firstChild, note, scroll);
  };
  if (data.columns.length) {
    numbers.addEventListener("toggle", fill);
    section.querySelector(".downloads").append(" ", page.button("Save what is shown as CSV", () => page.save(section.id, [head, ...rows()])));
    section.append(numbers);
  }

  for (const figure of figures) readOff(figure, data, (label) => {
    const number = [...labels].find(([, name]) => name === label)?.[0];
    return switched.has(number) || filtered(label);
  });

  document.addEventListener("filter", ({ detail: choice }) => {
    for (const figure of figures) figure.hidden = !page.passes(figure, choice);
    const axis = section.dataset.axis;
    filtered = (label) => Boolean(axis && label !== undefined && choice[axis] && label !== choice[axis]);
    section.querySelector(".none-left").hidden = visible().length > 0;
    draw();
    fill();
  });
}

// values of all series nearest to the pointer
function readOff(figure, data, hidden) {
  const panel = data.panels[figure.dataset.panel];
  const box = document.getElementById("readout");
  if (!panel.frame) return;
  const svg = figure.querySelector("svg");
  const [low, high, start, end] = panel.frame.x;
  const xs = [...new Set(panel.rows.map((row) => row[1]))];
  svg.addEventListener("pointermove", (event) => {
    const place = svg.getBoundingClientRect();
    const at = ((event.clientX - place.left) / place.width) * svg.viewBox.baseVal.width;
    const value = low + ((at - start) / (end - start)) * (high - low);
    const nearest = xs.reduce((a, b) => (Math.abs(b - value) < Math.abs(a - value) ? b : a));
    const shown = panel.rows.filter((row) => row[1] === nearest && row[2] !== null && !hidden(row[0]));
    const table = page.element("table");
    table.append(...shown.sort((a, b) => b[2] - a[2]).map((row) => {
      const line = page.element("tr");
      line.append(page.element("td", row[0]), page.element("td", page.number(row[2])));
      return line;
    }));
    box.replaceChildren(page.element("b", `${data.columns[1]} ${nearest}`), table);
    box.hidden = false;
    const left = event.clientX + 16 + box.offsetWidth > innerWidth ? event.clientX - 16 - box.offsetWidth : event.clientX + 16;
    box.style.left = `${Math.max(4, left)}px`;
    box.style.top = `${Math.min(event.clientY + 12, innerHeight - box.offsetHeight - 8)}px`;
  });
  svg.addEventListener("pointerleave", () => { box.hidden = true; });
}

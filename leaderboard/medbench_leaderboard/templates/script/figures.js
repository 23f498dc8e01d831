// Figures: the drawing becomes interactive when it comes near the window. Series are hidden by
// buttons, values are shown under the pointer, and the numbers behind are listed and saved.
for (const section of document.querySelectorAll(".chart")) {
  const chart = page.charts[section.id];
  if (!chart) continue;
  const drawing = section.querySelector(".drawing");
  const names = chart.columns;
  const rows = chart.data.map((values) => Object.fromEntries(names.map((name, i) => [name, chart.levels[name] ? chart.levels[name][values[i]] : values[i]])));
  const hidden = new Set();
  let choice = {};
  let view;

  const chosen = () => rows.filter((row) => chart.filters.every((name) => page.allows(choice, name, row[name])));
  const update = () => {
    if (!view || drawing.hidden) return;
    for (const name of chart.filters) view.signal(`only_${name}`, choice[name] || null);
    if (chart.series.length) view.signal("hidden", [...hidden]);
    view.runAsync();
  };

  new IntersectionObserver(async (entries, observer) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    const spec = { ...chart.spec, datasets: { ...chart.spec.datasets, rows } };
    // as many panels in a row as there is room for
    if (spec.columns) spec.columns = Math.max(1, Math.min(spec.columns, Math.floor(drawing.clientWidth / (spec.spec.width + 70))));
    const live = page.element("div");
    live.setAttribute("aria-hidden", "true"); // the element around it is described in words
    const options = { actions: false, ast: true, defaultStyle: false, logLevel: 1, renderer: "svg", tooltip: { disableDefaultStyle: true } };
    ({ view } = await vegaEmbed(live, spec, options));
    drawing.replaceChildren(live);
    update();
  }, { rootMargin: "300px" }).observe(drawing);

  if (chart.series.length > 1) {
    const legend = page.element("div", undefined, "legend");
    legend.setAttribute("role", "group");
    legend.setAttribute("aria-label", `Shown in ${section.querySelector("h3").textContent}`);
    for (const name of chart.series) {
      const button = page.button(name, () => {
        if (!hidden.delete(name)) hidden.add(name);
        button.setAttribute("aria-pressed", String(!hidden.has(name)));
        update();
      });
      button.setAttribute("aria-pressed", "true");
      button.title = "show or hide";
      legend.append(button);
    }
    drawing.before(legend);
  }

  // columns that serve the drawing alone begin with "_"
  const head = names.filter((name) => !name.startsWith("_"));
  const cells = () => chosen().map((row) => head.map((name) => row[name]));
  const numbers = page.element("details", undefined, "table");
  numbers.append(page.element("summary", "Numbers of this figure"));
  const fill = () => {
    if (!numbers.open) return;
    const line = (values, tag) => {
      const row = page.element("tr");
      row.append(...values.map((value) => page.element(tag, value === null ? "–" : value, typeof value === "number" ? "num" : "")));
      return row;
    };
    const all = cells();
    const [table, top, body] = ["table", "thead", "tbody"].map((tag) => page.element(tag));
    table.className = "plain";
    top.append(line(head, "th"));
    for (const cell of top.querySelectorAll("th")) cell.scope = "col";
    body.append(...all.slice(0, 500).map((values) => line(values, "td")));
    table.append(top, body);
    const scroll = page.element("div", undefined, "scroll");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", `Numbers of ${section.querySelector("h3").textContent}`);
    scroll.append(table);
    const note = all.length > 500 ? page.element("p", `The first 500 of ${all.length} rows; the CSV file has all.`, "quiet") : "";
    numbers.replaceChildren(numbers.firstChild, note, scroll);
  };
  numbers.addEventListener("toggle", fill);
  section.querySelector(".downloads").append(" ", page.button("Save what is shown as CSV", () => page.save(section.id, [head, ...cells()])));
  section.append(numbers);

  document.addEventListener("filter", ({ detail }) => {
    choice = detail;
    drawing.hidden = !chosen().length;
    section.querySelector(".none-left").hidden = !drawing.hidden;
    update();
    fill();
  });
}

// The filters: one form for the whole page, kept in the address so that a view can be passed on.
{
  const data = page.board;
  const form = document.getElementById("controls");
  const pill = document.getElementById("filter-note");
  const fields = [...page.axes, "metric", "reading"];

  function fill(name, options) {
    form.elements[name].append(...options.map(([value, label]) => {
      const option = page.element("option", label);
      option.value = value;
      return option;
    }));
  }
  const distinct = (items, name) => [...new Set(items.map((item) => String(item[name])))];
  const axis = (items, name) => [["", "all"], ...distinct(items, name).map((value) => [value, value])];

  // words of the search that name an entrant choose entrants, the others choose blocks
  function searched(text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    const entrants = data.entrants.map((e) => `${e.pretext} ${e.method}`.toLowerCase());
    const entrantWords = words.filter((word) => entrants.some((name) => name.includes(word)));
    return { words, entrantWords, blockWords: words.filter((word) => !entrantWords.includes(word)) };
  }

  function choose() {
    const values = Object.fromEntries(fields.map((name) => [name, form.elements[name].value]));
    const search = form.elements.search.value.trim();
    const choice = { ...values, ...searched(search), metric: Number(values.metric), reading: Number(values.reading) };
    document.dispatchEvent(new CustomEvent("filter", { detail: choice }));
    const set = [...page.axes.map((name) => values[name]), search].filter(Boolean);
    pill.hidden = !set.length;
    pill.textContent = `${set.join(" · ")} ✕`;
    pill.setAttribute("aria-label", `Filtered by ${set.join(", ")}: show all again`);
    const kept = new URLSearchParams(Object.entries(values).filter(([name, value]) => value !== String(defaults[name])));
    if (search) kept.set("search", search);
    if (kept.size || location.hash.startsWith("#?")) history.replaceState(null, "", `#?${kept}`);
  }

  const defaults = { ...Object.fromEntries(page.axes.map((name) => [name, ""])), metric: data.metric, reading: data.reading };
  function reset() {
    for (const name of fields) form.elements[name].value = defaults[name];
    form.elements.search.value = "";
    choose();
  }

  fill("reading", data.readings.map((name, i) => [i, name === "selected" ? name : name.toUpperCase()]));
  fill("metric", data.metrics.map(({ label }, i) => [i, label]));
  for (const name of ["dataset", "noise", "rate"]) fill(name, axis(data.blocks, name));
  for (const name of ["pretext", "method"]) fill(name, axis(data.entrants, name));

  form.addEventListener("input", choose);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(reset));
  pill.addEventListener("click", reset);
  form.hidden = false;

  const given = new URLSearchParams(location.hash.startsWith("#?") ? location.hash.slice(2) : "");
  for (const name of fields) form.elements[name].value = defaults[name];
  for (const [name, value] of given) {
    const field = [...fields, "search"].includes(name) ? form.elements[name] : null;
    if (field && (name === "search" || [...field.options].some((option) => option.value === value))) field.value = value;
  }
  choose();
}

// The filters: one form for the whole page, kept in the address so that a view can be passed on.
{
  const data = page.board;
  const form = document.getElementById("controls");
  const pill = document.getElementById("filter-note");
  const chosen = [...page.axes, ...page.families];
  const fields = [...chosen, "metric", "reading"];

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

  // the values that an axis and its family leave; null for all
  function allowed(axis, value, family) {
    if (!family) return value ? [value] : null;
    const members = data.entrants.filter((entrant) => entrant[`${axis}_family`] === family);
    return distinct(members, axis).filter((name) => !value || name === value);
  }

  function choose() {
    const values = Object.fromEntries(fields.map((name) => [name, form.elements[name].value]));
    const search = form.elements.search.value.trim();
    const choice = { ...searched(search), metric: Number(values.metric), reading: Number(values.reading) };
    for (const axis of page.axes) choice[axis] = allowed(axis, values[axis], values[`${axis}_family`]);
    document.dispatchEvent(new CustomEvent("filter", { detail: choice }));
    const set = [...chosen.map((name) => values[name]), search].filter(Boolean);
    pill.hidden = !set.length;
    pill.textContent = `${set.join(" · ")} ✕`;
    pill.setAttribute("aria-label", `Filtered by ${set.join(", ")}: show all again`);
    const kept = new URLSearchParams(Object.entries(values).filter(([name, value]) => value !== String(defaults[name])));
    if (search) kept.set("search", search);
    if (kept.size || location.hash.startsWith("#?")) history.replaceState(null, "", `#?${kept}`);
  }

  const defaults = { ...Object.fromEntries(chosen.map((name) => [name, ""])), metric: data.metric, reading: data.reading };
  function reset() {
    for (const name of fields) form.elements[name].value = defaults[name];
    form.elements.search.value = "";
    choose();
  }

  fill("reading", data.readings.map((name, i) => [i, name === "selected" ? name : name.toUpperCase()]));
  fill("metric", data.metrics.map(({ label }, i) => [i, label]));
  for (const name of ["dataset", "noise", "rate"]) fill(name, axis(data.blocks, name));
  for (const name of ["pretext", "method"]) fill(name, axis(data.entrants, name));
  for (const name of page.families) {
    const stated = data.entrants.filter((entrant) => entrant[name]);
    fill(name, axis(stated, name));
    form.elements[name].parentElement.hidden = distinct(stated, name).length < 2;
  }

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

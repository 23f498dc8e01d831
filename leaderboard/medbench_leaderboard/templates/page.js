"use strict";
// The page is whole without this script; with it the ranking can be filtered, sorted and saved.
(() => {
  const data = JSON.parse(document.getElementById("ranking-data").textContent);
  const table = document.getElementById("ranking-table");
  const form = document.getElementById("controls");
  const note = document.getElementById("ranking-note");
  const counts = { entrants: data.entrants.length, blocks: data.blocks.length, metrics: data.metrics.length };
  const withTies = data.entrants.some((entrant) => entrant.ties);
  let sort = { key: "rank", down: false };

  const element = (tag, text, classes) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text; // never as markup
    if (classes) made.className = classes;
    return made;
  };
  const number = (value, digits = 3) => (value === null ? "–" : value.toFixed(digits));
  const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);

  // one cell: mean, sd, seeds, rank
  const cell = (reading, metric, entrant, block) => {
    const at = 4 * (((reading * counts.metrics + metric) * counts.entrants + entrant) * counts.blocks + block);
    const [average, sd, seeds, rank] = data.cells.slice(at, at + 4);
    return { mean: average, sd, seeds, rank, planned: data.planned[entrant][block] };
  };

  function fill(name, options) {
    for (const [value, label] of options) {
      const option = element("option", label);
      option.value = value;
      form.elements[name].append(option);
    }
  }
  const distinct = (items, name) => [...new Set(items.map((item) => item[name]))];
  const axis = (items, name) => [["", "all"], ...distinct(items, name).map((value) => [String(value), String(value)])];

  function choice() {
    const chosen = Object.fromEntries(
      ["dataset", "noise", "rate", "pretext", "method"].map((name) => [name, form.elements[name].value]));
    const passes = (item, names) => names.every((name) => chosen[name] === "" || String(item[name]) === chosen[name]);
    return {
      reading: Number(form.elements.reading.value),
      metric: Number(form.elements.metric.value),
      blocks: [...data.blocks.keys()].filter((b) => passes(data.blocks[b], ["dataset", "noise", "rate"])),
      entrants: [...data.entrants.keys()].filter((e) => passes(data.entrants[e], ["pretext", "method"])),
    };
  }

  function rowsOf(view) {
    const counted = view.blocks.filter((b) => data.counted[view.reading][view.metric][b]);
    const all = [...data.entrants.keys()].map((e) => {
      const cells = Object.fromEntries(view.blocks.map((b) => [b, cell(view.reading, view.metric, e, b)]));
      const ranked = counted.filter((b) => cells[b].rank !== null);
      return { entrant: e, cells, rank: mean(ranked.map((b) => cells[b].rank)), mean: mean(ranked.map((b) => cells[b].mean)) };
    });
    const ranks = all.map((row) => row.rank).filter((rank) => rank !== null);
    for (const row of all) row.place = row.rank === null ? null : 1 + ranks.filter((rank) => rank < row.rank - 1e-9).length;
    return { rows: all.filter((row) => view.entrants.includes(row.entrant)), counted: counted.length };
  }

  function sorted(rows) {
    const value = (row) => {
      if (sort.key === "who") return `${data.entrants[row.entrant].pretext} ${data.entrants[row.entrant].method}`;
      if (sort.key === "runs") return data.entrants[row.entrant].done;
      if (sort.key === "rank" || sort.key === "mean") return row[sort.key];
      const found = row.cells[sort.key];
      return found === undefined ? null : found.mean;
    };
    const sign = sort.down ? -1 : 1;
    return [...rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if (x === null || y === null) return (x === null) - (y === null); // what is missing stays last
      return sign * (typeof x === "string" ? x.localeCompare(y) : x - y) || a.entrant - b.entrant;
    });
  }

  function header(view) {
    const row = element("tr");
    const add = (key, text, classes, small, mark, downFirst) => {
      const th = element("th", undefined, classes);
      th.scope = "col";
      if (key === null) th.textContent = text;
      else {
        const button = element("button", text);
        button.type = "button";
        if (small) button.append(element("small", small));
        button.addEventListener("click", () => {
          sort = { key, down: sort.key === key ? !sort.down : downFirst };
          show();
          table.querySelector(`[data-key="${key}"] button`).focus();
        });
        th.dataset.key = key;
        if (sort.key === key) th.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
        th.append(button);
      }
      if (mark) th.append(element("em", mark));
      row.append(th);
    };
    const better = !data.metrics[view.metric].lower;
    add(null, "#", "num");
    add("who", "Entrant", "who", "", "", false);
    add("rank", "Mean rank", "num", "", "", false);
    add("mean", "Mean", "num", "", "", better);
    if (withTies) add(null, "Ties");
    add("runs", "Runs", "num", "", "", true);
    for (const b of view.blocks) {
      const block = data.blocks[b];
      const counted = data.counted[view.reading][view.metric][b];
      const mark = !block.learnable ? "unlearnable" : counted ? "" : "incomplete";
      add(String(b), block.dataset, counted ? "block" : "block out", `${block.noise} ${block.rate}`, mark, better);
    }
    return row;
  }

  function body(view, rows) {
    const sign = data.metrics[view.metric].lower ? -1 : 1;
    const span = Object.fromEntries(view.blocks.map((b) => {
      const values = [...data.entrants.keys()].map((e) => cell(view.reading, view.metric, e, b).mean)
        .filter((value) => value !== null).map((value) => sign * value);
      return [b, [Math.min(...values), Math.max(...values)]];
    }));
    return rows.map((row) => {
      const entrant = data.entrants[row.entrant];
      const tr = element("tr");
      tr.append(element("td", row.place === null ? "–" : row.place, "num place"));
      const who = element("th", undefined, "who");
      who.scope = "row";
      const method = element("span", entrant.method);
      if (entrant.oracle) {
        const mark = element("abbr", "oracle", "oracle");
        mark.title = "asked the oracle for something not known in practice";
        method.append(" ", mark);
      }
      who.append(element("b", entrant.pretext), method);
      tr.append(who, element("td", number(row.rank, 2), "num strong"), element("td", number(row.mean), "num"));
      if (withTies) tr.append(element("td", entrant.ties));
      tr.append(element("td", `${entrant.done}/${entrant.planned}`, entrant.done < entrant.planned ? "num short" : "num"));
      for (const b of view.blocks) tr.append(cellOf(row.cells[b], span[b], sign, data.counted[view.reading][view.metric][b]));
      return tr;
    });
  }

  function cellOf(found, [low, high], sign, counted) {
    if (!found.planned) return element("td", "–", "cell");
    if (!found.seeds) {
      const td = element("td", "missing", "cell none");
      td.append(element("small", `0/${found.planned} seeds`));
      return td;
    }
    const td = element("td", undefined, counted ? "cell" : "cell out");
    td.style.setProperty("--heat", high > low ? ((sign * found.mean - low) / (high - low)).toFixed(3) : "0.5");
    const small = element("small", found.seeds > 1 ? `±${number(found.sd)} · ` : "");
    small.append(found.seeds < found.planned
      ? element("b", `${found.seeds}/${found.planned} seeds`, "short")
      : `#${found.rank}`);
    td.append(element("span", number(found.mean)), small);
    return td;
  }

  let shown = null;
  function show() {
    const view = choice();
    const { rows, counted } = rowsOf(view);
    if (/^\d+$/.test(sort.key) && !view.blocks.includes(Number(sort.key))) sort = { key: "rank", down: false };
    const ordered = sorted(rows);
    table.tHead.replaceChildren(header(view));
    table.tBodies[0].replaceChildren(...body(view, ordered));
    const metric = data.metrics[view.metric];
    note.textContent = `By ${metric.label} of the reading ${data.readings[view.reading]}` +
      `${metric.lower ? " (less is better)" : ""}. Mean rank and mean over ${counted} of ${data.blocks.length} blocks; ` +
      `ranks are among all ${data.entrants.length} entrants. ${ordered.length} shown.`;
    shown = { view, ordered };
  }

  const quoted = (value) => {
    const text = value === null || value === undefined ? "" : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  function save(name, rows) {
    const text = rows.map((row) => row.map(quoted).join(",")).join("\n") + "\n";
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
  function saveRanking() {
    const { view, ordered } = shown;
    const head = ["pretext", "method", "dataset", "noise", "rate", "reading", "metric", "mean", "sd", "seeds", "planned", "rank", "mean_rank_shown"];
    const lines = ordered.flatMap((row) => view.blocks.map((b) => {
      const entrant = data.entrants[row.entrant], block = data.blocks[b], found = row.cells[b];
      return [entrant.pretext, entrant.method, block.dataset, block.noise, block.rate, data.readings[view.reading],
        data.metrics[view.metric].name, found.mean, found.sd, found.seeds, found.planned, found.rank, row.rank];
    }));
    save(`${data.protocol}-ranking.csv`, [head, ...lines]);
  }
  function saveRuns() {
    const rows = [...document.getElementById("runs-table").rows];
    save(`${data.protocol}-runs.csv`, rows.map((row) => [...row.cells].map((td) => td.title || td.textContent)));
  }

  fill("reading", data.readings.map((name, i) => [i, name]));
  fill("metric", data.metrics.map(({ label }, i) => [i, label]));
  for (const name of ["dataset", "noise", "rate"]) fill(name, axis(data.blocks, name));
  for (const name of ["pretext", "method"]) fill(name, axis(data.entrants, name));
  const defaults = () => {
    form.elements.reading.value = data.reading;
    form.elements.metric.value = data.metric;
    sort = { key: "rank", down: false };
    show();
  };
  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(defaults));
  document.getElementById("download-ranking").addEventListener("click", saveRanking);
  const runs = document.getElementById("download-runs");
  runs.addEventListener("click", saveRuns);
  form.hidden = runs.hidden = false;
  defaults();
})();

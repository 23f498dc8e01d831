// The ranking: rebuilt for any reading, metric and part of the grid.
{
  const data = page.board;
  const { element, number } = page;
  const table = document.getElementById("ranking-table");
  const note = document.getElementById("ranking-note");
  const counts = { entrants: data.entrants.length, blocks: data.blocks.length, metrics: data.metrics.length };
  const tested = data.entrants.some((entrant) => entrant.ties || entrant.open);
  const foreign = data.entrants.some((entrant) => entrant.foreign);
  let sort = { key: "rank", down: false };
  let view = null;

  const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);

  // one cell: mean, sd, seeds, rank
  const cell = (reading, metric, entrant, block) => {
    const at = 4 * (((reading * counts.metrics + metric) * counts.entrants + entrant) * counts.blocks + block);
    const [average, sd, seeds, rank] = data.cells.slice(at, at + 4);
    return { mean: average, sd, seeds, rank, planned: data.planned[entrant][block] };
  };

  function viewOf(choice) {
    const passes = (item, axes) => axes.every((axis) => page.allows(choice, axis, item[axis]));
    const named = (words, text) => words.every((word) => text.toLowerCase().includes(word));
    const places = ["dataset", "noise", "rate"];
    const blocks = [...data.blocks.keys()].filter((b) =>
      passes(data.blocks[b], places) && named(choice.blockWords, places.map((name) => data.blocks[b][name]).join(" ")));
    const entrants = [...data.entrants.keys()].filter((e) =>
      passes(data.entrants[e], ["pretext", "method"]) && named(choice.entrantWords, `${data.entrants[e].pretext} ${data.entrants[e].method}`));
    // what the tests found holds for all blocks by the declared metric and reading, and for nothing else
    const declared = choice.metric === data.metric && choice.reading === data.reading && blocks.length === counts.blocks;
    return { reading: choice.reading, metric: choice.metric, blocks, entrants, tested: tested && declared };
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
    if (view.tested) add(null, "Ranks open", "num");
    add("mean", "Mean", "num", "", "", better);
    if (view.tested) add(null, "Ties");
    if (foreign) add(null, "Contamination");
    add("runs", "Runs", "num", "", "", true);
    for (const b of view.blocks) {
      const block = data.blocks[b];
      const counted = data.counted[view.reading][view.metric][b];
      const mark = !block.learnable ? "misleading" : counted ? "" : "incomplete";
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
      if (entrant.collapsed) {
        const mark = element("abbr", "one class", "oracle");
        mark.title = `${entrant.collapsed} of ${entrant.done} runs predict one class for all test images`;
        method.append(" ", mark);
      }
      who.append(element("b", entrant.pretext), method);
      tr.append(who, element("td", number(row.rank, 2), "num strong"));
      if (view.tested) tr.append(element("td", entrant.open || "–", "num"));
      tr.append(element("td", number(row.mean), "num"));
      if (view.tested) tr.append(element("td", entrant.ties));
      if (foreign) tr.append(element("td", entrant.foreign || "–"));
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

  let ordered = [];
  function show() {
    const { rows, counted } = rowsOf(view);
    if (/^\d+$/.test(sort.key) && !view.blocks.includes(Number(sort.key))) sort = { key: "rank", down: false };
    ordered = sorted(rows);
    table.tHead.replaceChildren(header(view));
    table.tBodies[0].replaceChildren(...body(view, ordered));
    const metric = data.metrics[view.metric];
    note.textContent = `By ${metric.label} of the reading ${data.readings[view.reading]}` +
      `${metric.lower ? " (less is better)" : ""}. Mean rank and mean over ${counted} of ${data.blocks.length} blocks; ` +
      `ranks are among all ${data.entrants.length} entrants. ${ordered.length} shown.`;
  }

  function saveRanking() {
    const head = ["pretext", "method", "dataset", "noise", "rate", "reading", "metric", "mean", "sd", "seeds", "planned", "rank", "mean_rank_shown"];
    const lines = ordered.flatMap((row) => view.blocks.map((b) => {
      const entrant = data.entrants[row.entrant], block = data.blocks[b], found = row.cells[b];
      return [entrant.pretext, entrant.method, block.dataset, block.noise, block.rate, data.readings[view.reading],
        data.metrics[view.metric].name, found.mean, found.sd, found.seeds, found.planned, found.rank, row.rank];
    }));
    page.save("ranking", [head, ...lines]);
  }
  document.getElementById("download-ranking").addEventListener("click", saveRanking);
  document.addEventListener("filter", ({ detail }) => {
    view = viewOf(detail);
    show();
  });
}

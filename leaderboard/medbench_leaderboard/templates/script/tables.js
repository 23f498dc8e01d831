// Tables other than the ranking: sorted by their headings, filtered, saved.
{
  const names = { "comparisons-table": "comparisons", "losses-table": "losses", "orders-table": "orders", "detection-table": "detection", "refinement-table": "refinement", "costs-table": "costs", "runs-table": "runs" };

  const value = (cell) => {
    const text = cell.textContent.trim().replace("−", "-").replace(/^< /, "");
    const number = Number.parseFloat(text);
    return /^[+-]?[\d.]/.test(text) && !Number.isNaN(number) ? number : text;
  };

  function sortable(table) {
    const body = table.tBodies[0];
    const order = [...body.rows];
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const button = page.button(heading.textContent, () => {
        const down = heading.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        heading.setAttribute("aria-sort", down ? "descending" : "ascending");
        const key = new Map(order.map((row) => [row, value(row.cells[column])]));
        const missing = (v) => v === "–" || v === "";
        body.append(...[...order].sort((a, b) => {
          const [x, y] = [key.get(a), key.get(b)];
          if (missing(x) || missing(y)) return missing(x) - missing(y); // what is missing stays last
          const sign = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
          return down ? -sign : sign;
        }));
      });
      heading.replaceChildren(button);
    });
  }

  for (const table of document.querySelectorAll("table.sortable")) sortable(table);
  for (const [id, name] of Object.entries(names)) {
    const table = document.getElementById(id);
    if (!table) continue;
    const shown = (row) => !row.hidden;
    const saved = page.element("p");
    saved.append(page.button("Save what is shown as CSV", () => {
      page.save(name, [...table.rows].filter(shown).map((row) => [...row.cells].map((cell) => cell.title || cell.textContent.trim())));
    }));
    table.parentElement.before(saved);
  }

  document.addEventListener("filter", ({ detail: choice }) => {
    const found = (text) => choice.words.every((word) => text.toLowerCase().includes(word));
    for (const row of document.querySelectorAll("table.filtered tbody tr")) {
      const entrant = row.closest(".entrant");
      row.hidden = !page.passes(row, choice) || !(entrant || found(row.textContent));
    }
    for (const section of document.querySelectorAll(".entrant")) {
      const name = `${section.dataset.pretext} ${section.dataset.method}`;
      section.hidden = !page.passes(section, choice) || !choice.entrantWords.every((word) => name.toLowerCase().includes(word));
    }
    for (const card of document.querySelectorAll(".advices .card")) card.hidden = !page.passes(card, choice);
  });

  const copy = document.getElementById("copy-procedure");
  if (copy && navigator.clipboard) {
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(document.getElementById("procedure").textContent);
      copy.textContent = "Copied";
    });
  }
}

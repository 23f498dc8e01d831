"use strict";
// The page is complete without its script. With it, filters apply to all of it, tables sort,
// figures show numbers and hide series, and what is shown can be saved. One event, "filter".
const page = {
  board: JSON.parse(document.getElementById("board-data").textContent),
  charts: JSON.parse(document.getElementById("chart-data").textContent),
  axes: ["dataset", "noise", "rate", "pretext", "method"],
  families: ["pretext_family", "method_family"],

  element(tag, text, classes) {
    const made = document.createElement(tag);
    if (text !== undefined && text !== null) made.textContent = text; // never as markup
    if (classes) made.className = classes;
    return made;
  },

  button(text, action) {
    const made = page.element("button", text);
    made.type = "button";
    made.addEventListener("click", action);
    return made;
  },

  number: (value, digits = 3) => (value === null || value === undefined ? "–" : value.toFixed(digits)),

  // whether something, by its data attributes, is left by the filters; what it does not say is of all
  passes: (item, choice) =>
    page.axes.every((axis) => item.dataset[axis] === undefined || page.allows(choice, axis, item.dataset[axis])),

  // whether the filters leave a value of an axis: a choice is a list of values, or null for all
  allows: (choice, axis, value) => !choice[axis] || choice[axis].includes(String(value)),

  save(name, rows) {
    const quoted = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    const text = rows.map((row) => row.map(quoted).join(",")).join("\n") + "\n";
    const link = page.element("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = `${page.board.protocol}-${name}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  },
};

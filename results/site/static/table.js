// The table of results: filters, sorting and pages. Only the rows in view are in the document.
"use strict";
lstmbench.table = (rows, changed) => {
  const { el, statusClass } = lstmbench;
  const { columns } = rows;
  const length = rows.trials.length;
  const byKey = new Map(columns.map((column) => [column.key, column]));
  const text = (column, row) => column.values[column.at[row]];
  const state = {
    words: "", choices: new Map(), sort: null, descending: false, page: 0, size: 50,
    shown: new Set(columns.filter((column) => column.shown).map((column) => column.key)),
    selected: new Set(), order: [],
  };
  let haystacks = null;
  const table = document.getElementById("results");
  const [head, body] = [table.tHead, table.tBodies[0]];

  function matches(row) {
    for (const [key, wanted] of state.choices) {
      if (text(byKey.get(key), row) !== wanted) return false;
    }
    if (!state.words) return true;
    haystacks ||= Array.from({ length }, (_, r) =>
      columns.map((column) => text(column, r)).join("\n").toLowerCase());
    return state.words.toLowerCase().split(/\s+/).every((word) => haystacks[row].includes(word));
  }

  /** What each distinct text of a column sorts as; null comes last in either direction. */
  function keys(column) {
    return column.values.map((value) => {
      if (value === "") return null;
      if (!column.number) return value;
      const found = parseFloat(value.replace(/,/g, ""));
      return Number.isNaN(found) ? Infinity : found;
    });
  }

  function arrange() {
    const order = Array.from({ length }, (_, row) => row).filter(matches);
    const column = byKey.get(state.sort);
    if (column) {
      const values = keys(column);
      const collator = new Intl.Collator("en", { numeric: true });
      const sign = state.descending ? -1 : 1;
      order.sort((a, b) => {
        const [x, y] = [values[column.at[a]], values[column.at[b]]];
        if (x === null || y === null) return (x === null) - (y === null) || a - b;
        const difference = column.number ? (x > y) - (x < y) : collator.compare(x, y);
        return sign * difference || a - b;
      });
    }
    state.order = order;
    state.page = Math.max(0, Math.min(state.page, Math.ceil(order.length / state.size) - 1));
  }

  const visible = () => columns.filter((column) => state.shown.has(column.key));

  function heading(column) {
    const sorted = state.sort === column.key;
    const direction = state.descending ? "descending" : "ascending";
    const button = el("button", { type: "button" }, column.heading);
    button.addEventListener("click", () => sortBy(column));
    return el("th", {
      scope: "col", class: column.number ? "number" : null, "data-column": column.key,
      "aria-sort": sorted ? direction : "none",
    }, button);
  }

  /** One way, the other way, as published. Numbers start with the largest. */
  function sortBy(column) {
    if (state.sort !== column.key) {
      [state.sort, state.descending] = [column.key, column.number];
    } else if (state.descending === column.number) {
      state.descending = !column.number;
    } else {
      state.sort = null;
    }
    state.page = 0;
    update();
    for (const cell of head.querySelectorAll("th")) {
      if (cell.dataset.column === column.key) cell.querySelector("button").focus();
    }
  }

  function cell(column, row) {
    const value = text(column, row);
    if (column.key === "status") {
      return el("td", { "data-column": "status" }, el("span", { class: statusClass(value) }, value));
    }
    return el("td", { class: column.number ? "number" : null, "data-column": column.key }, value);
  }

  function trialCell(column, row) {
    const [first, ...others] = rows.trials[row];
    const address = (slug) => `trials/${slug}.html`;
    const more = others.map((slug, i) => el("a", {
      href: address(slug), class: "repeat", "aria-label": `repeat ${i + 2}`,
    }, String(i + 2)));
    const setting = byKey.get("setting");
    const status = text(byKey.get("status"), row);
    const under = setting ? [el("span", { class: "under" }, text(setting, row))] : [];
    if (status !== "ok") under.push(el("span", { class: `under ${statusClass(status)}` }, status));
    return el("th", { scope: "row" },
      el("a", { href: address(first) }, text(column, row)), ...more, ...under);
  }

  function line(row, previous) {
    const box = el("input", { type: "checkbox", "aria-label": `select ${text(columns[0], row)}` });
    box.checked = state.selected.has(row);
    box.addEventListener("change", () => {
      state.selected[box.checked ? "add" : "delete"](row);
      box.closest("tr").classList.toggle("selected", box.checked);
      changed(state);
    });
    const border = state.sort === null && previous !== undefined
      && rows.table[row] !== rows.table[previous];
    const made = el("tr", { "data-row": row, class: border ? "border" : null },
      el("td", { class: "select" }, el("label", {}, box)));
    made.classList.toggle("selected", box.checked);
    for (const column of visible()) {
      made.append(column === columns[0] ? trialCell(column, row) : cell(column, row));
    }
    return made;
  }

  /** `all`: for paper, as many as are bearable. */
  function render(all = false) {
    const start = all ? 0 : state.page * state.size;
    const inView = state.order.slice(start, all ? 1000 : start + state.size);
    head.replaceChildren(el("tr", {},
      el("td", { class: "select" }, el("span", { class: "hidden" }, "select")), ...visible().map(heading)));
    body.replaceChildren(...inView.map((row, i) => line(row, inView[i - 1])));
    if (!inView.length) {
      body.append(el("tr", {}, el("td", { class: "empty", colspan: visible().length + 1 },
        "No row matches. Clear a filter to see more.")));
    }
    const total = state.order.length.toLocaleString("en");
    const of = length.toLocaleString("en");
    document.getElementById("count").textContent = total === of ? `${of} rows` : `${total} of ${of} rows`;
    document.getElementById("place").textContent = inView.length
      ? `${(start + 1).toLocaleString("en")}–${(start + inView.length).toLocaleString("en")} of ${total}` : "none";
    document.getElementById("previous").disabled = state.page === 0;
    document.getElementById("next").disabled = start + state.size >= state.order.length;
  }

  function update() {
    arrange();
    render();
    changed(state);
  }

  return { columns, render, state, text, update };
};

// The index: controls of the table, the selection, and curves of what is in view.
"use strict";
(() => {
  const { charts, data, el, remember, remembered, trial } = lstmbench;
  const rows = data("rows");
  const byId = (id) => document.getElementById(id);
  const CURVES = 8;
  const filters = byId("filters");
  const table = lstmbench.table(rows, changed);
  const { columns, state, text } = table;
  const selects = new Map();

  function changed() {
    showSelection();
    const choices = Object.fromEntries(state.choices);
    const sort = state.sort && `${state.descending ? "-" : "+"}${state.sort}`;
    remember({ ...choices, words: state.words, sort, page: state.page ? String(state.page + 1) : "" });
    scheduleCurves();
  }

  function choose(change) {
    change();
    state.page = 0;
    table.update();
  }

  function buildFilters() {
    const search = byId("words");
    const list = document.querySelector("#choices div");
    search.addEventListener("input", () => choose(() => { state.words = search.value.trim(); }));
    const collator = new Intl.Collator("en", { numeric: true });
    for (const column of columns.filter((c) => c.choice)) {
      const values = [...column.values].sort(collator.compare);
      const select = el("select", { "data-filter": column.key },
        el("option", { value: "" }, "all"),
        ...values.map((value, i) => el("option", { value: String(i) }, value || "–")));
      select.addEventListener("change", () => choose(() => {
        if (select.value === "") state.choices.delete(column.key);
        else state.choices.set(column.key, values[Number(select.value)]);
      }));
      selects.set(column.key, { select, values });
      list.append(el("label", {}, el("span", {}, column.heading), select));
    }
    const wide = matchMedia("(min-width: 44rem)"); // where they are always open
    const unfold = () => { byId("choices").open = wide.matches; };
    wide.addEventListener("change", unfold);
    unfold();
    filters.addEventListener("reset", () => choose(() => {
      state.words = "";
      state.choices.clear();
    }));
    filters.addEventListener("submit", (event) => event.preventDefault());
  }

  function restore() {
    const before = remembered();
    for (const [key, { select, values }] of selects) {
      const place = values.indexOf(before.get(key));
      if (place < 0) continue;
      select.value = String(place);
      state.choices.set(key, values[place]);
    }
    state.words = byId("words").value = before.get("words") || "";
    const sort = before.get("sort") || "";
    if (columns.some((column) => column.key === sort.slice(1))) {
      [state.sort, state.descending] = [sort.slice(1), sort[0] === "-"];
    }
    state.page = Math.max(0, (parseInt(before.get("page"), 10) || 1) - 1);
  }

  function buildColumns() {
    const list = document.querySelector("#columns fieldset");
    for (const column of columns.slice(1)) {
      const box = el("input", { type: "checkbox" });
      box.checked = column.shown;
      box.addEventListener("change", () => {
        state.shown[box.checked ? "add" : "delete"](column.key);
        table.render();
      });
      list.append(el("label", { class: "check" }, box, ` ${column.heading}`));
    }
    document.addEventListener("click", (event) => {
      if (!byId("columns").contains(event.target)) byId("columns").open = false;
    });
    byId("columns").addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      byId("columns").open = false;
      byId("columns").querySelector("summary").focus();
    });
  }

  function buildPager() {
    const move = (by) => () => {
      state.page += by;
      table.update();
      document.querySelector(".scroll").scrollTop = 0;
    };
    byId("previous").addEventListener("click", move(-1));
    byId("next").addEventListener("click", move(1));
    byId("size").addEventListener("change", (event) => choose(() => { state.size = Number(event.target.value); }));
  }

  function showSelection() {
    const chosen = [...state.selected];
    const link = byId("compare");
    const two = chosen.length === 2;
    link.setAttribute("aria-disabled", String(!two));
    if (two) {
      const [a, b] = chosen.map((row) => rows.trials[row][rows.curves[row][0] ?? 0]);
      link.href = `compare.html#${new URLSearchParams({ a, b })}`;
    } else {
      link.removeAttribute("href");
    }
    const count = `${chosen.length} selected`;
    byId("selection").textContent = two ? count
      : chosen.length ? `${count}; two can be compared` : "Select two rows to compare them";
    byId("unselect").hidden = chosen.length === 0;
  }

  let pending = null, drawn = "";
  function scheduleCurves() {
    clearTimeout(pending);
    pending = setTimeout(showCurves, 150);
  }

  /** Facts by which the plotted rows differ, for their names. */
  function names(plotted) {
    const inLabel = columns.filter((c) => c.in_label && new Set(plotted.map((row) => c.at[row])).size > 1);
    const said = (column, row) => (/^\d/.test(text(column, row)) ? `${column.heading} ` : "") + text(column, row);
    return plotted.map((row) => ({
      name: text(columns[0], row),
      note: inLabel.map((column) => said(column, row)).filter(Boolean).join(" · "),
    }));
  }

  async function showCurves() {
    const panel = byId("curves");
    const start = state.page * state.size;
    const source = state.selected.size ? [...state.selected] : state.order.slice(start, start + state.size);
    const able = source.filter((row) => rows.curves[row].length > 0);
    const plotted = able.slice(0, CURVES);
    if (String(plotted) === drawn) return;
    drawn = String(plotted);
    panel.hidden = plotted.length === 0;
    const whose = state.selected.size ? "selected rows" : "rows in view";
    panel.querySelector("[data-note]").textContent = able.length > CURVES
      ? `The first ${CURVES} of ${able.length} ${whose}; select rows to choose.` : `The ${whose}.`;
    if (!plotted.length) return;
    // a curve for each seed of a row
    const slugs = plotted.map((row) => rows.curves[row].map((i) => rows.trials[row][i]));
    const trials = await Promise.all(slugs.map((own) => Promise.all(own.map(trial))));
    if (String(plotted) !== drawn) return;
    const labels = [...new Set(plotted.map((row) => text(columns[0], row)))].sort();
    const seen = new Map();
    const titles = names(plotted);
    const entries = plotted.flatMap((row, i) => {
      const label = text(columns[0], row);
      const stroke = seen.get(label) || 0;
      seen.set(label, stroke + 1);
      return trials[i].map((own, which) => ({
        trial: own, ...titles[i], hue: labels.indexOf(label), stroke, which, of: trials[i].length,
        href: `trials/${slugs[i][which]}.html`,
      }));
    });
    for (const entry of entries) if (entry.note) entry.name = `${entry.name} · ${entry.note}`;
    await charts.curves(panel, entries.map((entry) => ({ ...entry, note: "" })));
  }

  byId("in-all").textContent = rows.in_all.length
    ? `The same in all rows: ${rows.in_all.map((pair) => pair.join(" ")).join(" · ")}.` : "";
  byId("unselect").addEventListener("click", () => {
    state.selected.clear();
    table.update();
  });
  addEventListener("beforeprint", () => table.render(true));
  addEventListener("afterprint", () => table.render());
  addEventListener("hashchange", () => {
    filters.querySelectorAll("select").forEach((select) => { select.value = ""; });
    state.choices.clear();
    restore();
    table.update();
  });
  buildFilters();
  buildColumns();
  buildPager();
  restore();
  table.update();
  performance.mark("lstmbench-rows");
})();

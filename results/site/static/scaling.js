// Sweeps and rooflines: a plot and the same figures as a table.
"use strict";
(() => {
  const { charts, data, el } = lstmbench;
  const { figures, sweeps, rooflines } = data("scaling");
  const titles = new Map(figures);
  const digits = (value) => (value === null ? "" : Number(value.toPrecision(3)).toLocaleString("en", { maximumSignificantDigits: 3 }));

  /** A labelled list of choices; hidden where there is nothing to choose. */
  function chooser(title, options, chosen) {
    const select = el("select", {}, ...options.map((text, i) => el("option", { value: String(i) }, text)));
    select.addEventListener("change", () => chosen(Number(select.value)));
    return el("label", { hidden: options.length < 2 }, el("span", {}, title), select);
  }

  /** Titles less the words that all of them share. */
  function brief(titles) {
    const split = titles.map((title) => title.split(" · "));
    const shared = new Set(split[0].filter((word) => split.every((words) => words.includes(word))));
    return split.map((words) => words.filter((word) => !shared.has(word)).join(" · "));
  }

  function empty(panel, ...content) {
    panel.querySelector("[data-body]").replaceChildren(el("p", { class: "callout" }, ...content));
  }

  function lineName(line, lines) {
    const devices = new Set(lines.map((other) => other.device));
    return devices.size > 1 ? `${line.label} ${line.device}` : line.label;
  }

  /** Names in alphabetical order, as on the first page, so that a backend keeps its colour. */
  function hues(lines) {
    return [...new Set(lines.map((line) => lineName(line, lines)))].sort();
  }

  function sweepTraces(sweep, figure) {
    const names = hues(sweep.series);
    return sweep.series.map((line) => {
      const i = names.indexOf(lineName(line, sweep.series));
      const points = line.points.filter((point) => point.shown[figure] !== null);
      const bounded = figure === "tokens_per_second" && points.some((point) => point.low !== null);
      return {
        x: points.map((point) => point.x), y: points.map((point) => point.shown[figure]),
        mode: "lines+markers",
        line: { color: charts.colour(i), width: 1.75 },
        marker: { color: charts.colour(i), symbol: charts.marker(i), size: 8 },
        error_y: bounded ? {
          type: "data", symmetric: false, thickness: 1.25, width: 4, color: charts.colour(i),
          array: points.map((p) => (p.high === null ? 0 : p.high - p.shown[figure])),
          arrayminus: points.map((p) => (p.low === null ? 0 : p.shown[figure] - p.low)),
        } : undefined,
        text: points.map((p) => charts.literal(
          `${lineName(line, sweep.series)}: ${digits(p.shown[figure])} ${titles.get(figure)}`)),
        hovertemplate: `%{text}<extra>${sweep.size} %{x}</extra>`,
      };
    });
  }

  /** Logarithmic where the slowest would be squeezed against zero. */
  function figureAxis(sweep, figure) {
    const values = sweep.series.flatMap((line) => line.points.map((p) => p.shown[figure])).filter((v) => v > 0);
    const wide = Math.max(...values) / Math.min(...values) > 20;
    const title = titles.get(figure);
    return wide ? charts.decades(title, values) : charts.axis(title, { rangemode: "tozero" });
  }

  function sizes(sweep) {
    const all = sweep.series.flatMap((line) => line.points.map((point) => point.x));
    return [...new Set(all)].sort((a, b) => a - b);
  }

  function sweepTable(sweep, figure) {
    const xs = sizes(sweep);
    const row = (line) => {
      const at = new Map(line.points.map((point) => [point.x, point]));
      return el("tr", {}, el("th", { scope: "row" }, lineName(line, sweep.series)), ...xs.map((x) => {
        const point = at.get(x);
        if (!point) return el("td", {});
        const value = point.shown[figure] === null ? point.status : digits(point.shown[figure]);
        return el("td", { class: "number" }, el("a", { href: `trials/${point.slug}.html` }, value));
      }));
    };
    return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Sweep, scrolls sideways" },
      el("table", { class: "plain" },
        el("caption", {}, `${titles.get(figure)} by ${sweep.size}`),
        el("thead", {}, el("tr", {}, el("td", {}), ...xs.map((x) => el("th", { scope: "col", class: "number" }, String(x))))),
        el("tbody", {}, ...sweep.series.map(row))));
  }

  function showSweeps() {
    const panel = document.getElementById("sweeps");
    if (!sweeps.length) {
      empty(panel, "No two settings here differ in one size only. A sweep is made by ",
        el("code", {}, "lstmbench run --hidden-size 128,256,512"), ".");
      return;
    }
    const able = figures.map(([name]) => name).filter((name) =>
      sweeps.some((s) => s.series.some((line) => line.points.some((point) => point.shown[name] !== null))));
    let [sweep, figure] = [sweeps[0], able[0] || figures[0][0]];
    const place = el("div", { class: "chart" });
    const key = el("ul", { class: "key" });
    const show = () => {
      panel.querySelector("[data-note]").textContent = sweep.about;
      const names = hues(sweep.series);
      key.replaceChildren(...sweep.series.map((line) => {
        const name = lineName(line, sweep.series);
        return charts.keyItem({ name, hue: names.indexOf(name) });
      }));
      panel.querySelector("[data-body]").replaceChildren(place, key, sweepTable(sweep, figure));
      charts.draw(place, () => ({
        traces: sweepTraces(sweep, figure),
        layout: {
          xaxis: charts.axis(sweep.size, { type: "log", tickmode: "array", tickvals: sizes(sweep) }),
          yaxis: figureAxis(sweep, figure),
        },
      }));
    };
    panel.querySelector("[data-choices]").append(
      chooser("sweep", brief(sweeps.map((s) => `${s.size} · ${s.about}`)), (i) => { sweep = sweeps[i]; show(); }),
      chooser("figure", able.map((name) => titles.get(name)), (i) => { figure = able[i]; show(); }));
    show();
  }

  /** The roof: memory's slope up to the peak of the matmul. */
  function roof({ points, peak, bandwidth }) {
    const xs = points.map((p) => p.intensity);
    const ridge = bandwidth ? peak / bandwidth : 0;
    const [low, high] = [Math.min(...xs, ridge || Infinity) / 2, Math.max(...xs, ridge) * 2];
    const x = ridge > low ? [low, ridge, high] : [low, high];
    return { x, y: x.map((value) => (ridge ? Math.min(peak, value * bandwidth) : peak)) };
  }

  function showRooflines() {
    const panel = document.getElementById("rooflines");
    if (!rooflines.length) {
      empty(panel, "No peak of the hardware was measured with these records.");
      return;
    }
    let chosen = rooflines[0];
    const place = el("div", { class: "chart" });
    const key = el("ul", { class: "key" });
    const show = () => {
      panel.querySelector("[data-note]").textContent = chosen.about;
      const labels = [...new Set(chosen.points.map((point) => point.label))];
      const names = hues(chosen.points);
      const reached = (point) => [point.changed, `${digits(point.shown.operations_per_second)} GFLOP/s`,
        `${digits(point.shown.share_of_peak)} %`].filter(Boolean).join(", ");
      key.replaceChildren(...labels.map((label) => {
        const own = chosen.points.filter((point) => point.label === label);
        return charts.keyItem({
          name: label, hue: names.indexOf(label), note: own.length > 1 ? "" : reached(own[0]),
        });
      }));
      panel.querySelector("[data-body]").replaceChildren(place, key);
      charts.draw(place, () => ({
        traces: [
          { ...roof(chosen), mode: "lines", line: { color: charts.colour(6), width: 1.5 }, hoverinfo: "skip" },
          ...labels.map((label) => {
            const i = names.indexOf(label);
            const own = chosen.points.filter((point) => point.label === label);
            return {
              x: own.map((point) => point.intensity), y: own.map((point) => point.shown.operations_per_second),
              mode: "markers",
              marker: { color: charts.colour(i), symbol: charts.marker(i), size: 11 },
              text: own.map((point) => charts.literal(`${label}: ${reached(point)}`)),
              hovertemplate: "%{text}<extra>%{x:.3s} FLOP/byte</extra>",
            };
          }),
        ],
        layout: {
          xaxis: charts.decades("FLOP/byte (compulsory traffic)", roof(chosen).x),
          yaxis: charts.decades("GFLOP/s", [...roof(chosen).y, ...chosen.points.map((p) => p.shown.operations_per_second)]),
        },
      }));
    };
    panel.querySelector("[data-choices]").append(
      chooser("setting", brief(rooflines.map((r) => r.about)), (i) => { chosen = rooflines[i]; show(); }));
    show();
  }

  showSweeps();
  showRooflines();
})();

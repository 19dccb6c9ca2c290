// Plots by plotly.js, in the colours of the style sheet, drawn again when the theme changes.
"use strict";
lstmbench.charts = (() => {
  const { el, script } = lstmbench;
  const LIBRARY = "static/vendor/plotly-basic.min.js";
  const DASHES = ["solid", "dash", "dot", "dashdot"];
  const STROKES = { solid: "", dash: "7 4", dot: "2 3", dashdot: "7 3 2 3" };
  const MARKERS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "star", "hexagon"];
  const GLYPHS = ["●", "■", "◆", "▲", "✚", "✖", "★", "⬢"]; // the same, as text
  const COLOURS = 8;
  const plots = new Map();

  /** plotly.js reads some HTML in texts: escaped, it shows them as they are. */
  const literal = (text) =>
    text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/%\{/g, "%&#123;");
  const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (index) => variable(`--series-${index % COLOURS}`);
  const dash = (index) => DASHES[index % DASHES.length];
  const marker = (index) => MARKERS[index % MARKERS.length];

  /** "0.1 0.2" to numbers; what is none becomes a gap. A single one stands for `length`. */
  function numbers(text, length = 0) {
    const values = text === "" ? [] : text.split(" ").map(Number);
    const found = values.map((value) => (Number.isFinite(value) ? value : null));
    return found.length === 1 && length > 1 ? Array(length).fill(found[0]) : found;
  }

  function axis(title, more) {
    const line = variable("--line");
    return {
      title: { text: title, standoff: 8 },
      gridcolor: line, linecolor: line, zeroline: false, automargin: true, fixedrange: false,
      ...more,
    };
  }

  /** A logarithmic axis with ticks at 1, 2 and 5. */
  function decades(title, values) {
    const known = values.filter((value) => value > 0);
    const low = Math.floor(Math.log10(Math.min(...known)));
    const high = Math.ceil(Math.log10(Math.max(...known)));
    const powers = Array.from({ length: high - low + 1 || 0 }, (_, i) => low + i);
    const tickvals = powers.flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`)));
    return axis(title, { type: "log", tickmode: "array", tickvals, tickformat: "~s" });
  }

  /** Round values on a logarithmic axis, dense where perplexities end. */
  const TICKS = [1, 1.05, 1.1, 1.2, 1.3, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100, 200, 500, 1000];

  function perplexityAxis(values) {
    const known = values.filter((value) => value > 0);
    const low = Math.min(...known), high = Math.max(...known);
    const wide = high / low > 4;
    const ticks = TICKS.filter((t) => t >= low / 1.02 && t <= high * 1.02)
      .filter((t) => !wide || ![1.05, 1.2, 1.3, 7, 15].includes(t));
    return axis("perplexity", {
      type: "log",
      ...(ticks.length > 1 ? { tickmode: "array", tickvals: ticks } : {}),
    });
  }

  /** Draw, and draw again as `make()` says when the theme changes or the page is printed. */
  async function draw(place, make) {
    plots.set(place, make);
    await script(LIBRARY);
    if (plots.get(place) === make) render(place, make);
  }

  function render(place, make, size) {
    const { traces, layout } = make();
    const text = variable("--text"), surface = variable("--raised");
    const font = { family: variable("--sans"), size: 12, color: variable("--muted") };
    Plotly.react(place, traces, {
      font, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 8, r: 12, t: 8, b: 8 }, showlegend: false, hovermode: "closest",
      hoverlabel: {
        bgcolor: surface, bordercolor: variable("--line"), namelength: -1,
        font: { family: variable("--sans"), size: 12, color: text },
      },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
      ...(size || { width: undefined, height: undefined, autosize: true }),
      ...layout,
    }, { displayModeBar: false, responsive: true, scrollZoom: false });
  }

  function redraw(onPaper) {
    for (const [place, make] of plots) {
      if (!window.Plotly || !place.isConnected) continue;
      const { clientWidth: width, clientHeight: height } = place;
      render(place, make, onPaper && { width, height, autosize: false });
    }
  }
  document.addEventListener("lstmbench-theme", () => redraw());
  matchMedia("print").addEventListener("change", (event) => redraw(event.matches));

  /** A sample of the line, for a key that is text and not part of the plot. */
  function sample(hue, stroke) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 28 10");
    svg.setAttribute("class", "sample");
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS(svg.namespaceURI, "line");
    const look = { x1: 1, y1: 5, x2: 27, y2: 5, "stroke-width": 2.5, "stroke-dasharray": STROKES[stroke] };
    for (const [name, value] of Object.entries(look)) line.setAttribute(name, value);
    line.style.stroke = `var(--series-${hue % COLOURS})`;
    svg.append(line);
    return svg;
  }

  /** One line of a key: what the line or mark looks like, what it is, where it leads. */
  function keyItem(entry) {
    const look = entry.stroke === undefined
      ? el("span", { class: "glyph", "aria-hidden": "true", style: `color: var(--series-${entry.hue % COLOURS})` },
        GLYPHS[entry.hue % GLYPHS.length])
      : sample(entry.hue, dash(entry.stroke));
    const name = entry.href ? el("a", { href: entry.href }, entry.name) : el("span", {}, entry.name);
    const note = entry.note ? [el("span", { class: "note" }, entry.note)] : [];
    return el("li", {}, look, name, ...note);
  }

  function running(seconds) {
    let sum = 0;
    return seconds.map((value) => (sum += value));
  }

  /**
   * Perplexity against epochs or seconds with a toggle.
   * `entries`: { trial (as delivered), name, note, href, hue, stroke }, and `which` of how many
   * where several are seeds of one row: thin lines under one name.
   */
  function curves(panel, entries) {
    const place = panel.querySelector("[data-chart]");
    const key = panel.querySelector("[data-key]");
    const lines = entries.map((entry) => {
      const values = numbers(entry.trial.perplexity, numbers(entry.trial.seconds).length);
      return { ...entry, values, seconds: running(numbers(entry.trial.seconds, values.length)) };
    });
    const named = lines.filter((line) => !line.which);
    key.replaceChildren(...(named.length > 1 ? named.map(keyItem) : []));
    const chosen = () => panel.querySelector("input:checked").value;

    const make = () => {
      const bySeconds = chosen() === "seconds";
      const traces = lines.flatMap((line) => {
        const x = bySeconds ? line.seconds : line.values.map((_, i) => i + 1);
        const style = { color: colour(line.hue), dash: dash(line.stroke), width: line.of > 1 ? 0.9 : 1.75 };
        const hover = (values, what) => values.map((v) => literal(`${line.name}${what}: ${v}`));
        const curve = {
          x, y: line.values, mode: line.values.length > 1 ? "lines" : "markers", line: style,
          text: hover(line.values, ""),
          hovertemplate: `%{text}<extra>${bySeconds ? "%{x:.3s} s" : "epoch %{x}"}</extra>`,
        };
        const points = line.trial.evaluations.map(([split, epoch, value]) => ({
          x: bySeconds ? line.seconds[epoch - 1] : epoch, y: value, split,
        }));
        const dots = {
          x: points.map((p) => p.x), y: points.map((p) => p.y), mode: "markers",
          marker: { color: colour(line.hue), symbol: "circle-open", size: 8, line: { width: 2 } },
          text: points.map((p) => literal(`${line.name} ${p.split}: ${Number(p.y).toPrecision(5)}`)),
          hovertemplate: "%{text}<extra></extra>",
        };
        return points.length ? [curve, dots] : [curve];
      });
      const all = lines.flatMap((line) => [...line.values, ...line.trial.evaluations.map((e) => e[2])]);
      return {
        traces,
        layout: {
          xaxis: axis(bySeconds ? "seconds of training" : "epoch", { rangemode: "tozero" }),
          yaxis: perplexityAxis(all),
        },
      };
    };
    for (const input of panel.querySelectorAll("input[type=radio]")) {
      input.onchange = () => draw(place, make);
    }
    return draw(place, make);
  }

  return { axis, colour, curves, decades, draw, keyItem, literal, marker, numbers };
})();

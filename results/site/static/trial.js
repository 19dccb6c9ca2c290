// The page of one trial: its curves.
"use strict";
(() => {
  const { charts, data } = lstmbench;
  const slug = document.getElementById("trial").dataset.trial;
  const trial = data(`trials/${slug}`);
  charts.curves(document.getElementById("curves"), [{ trial, name: trial.label, hue: 0, stroke: 0 }]);

  const seconds = charts.numbers(trial.seconds);
  const tokens = charts.numbers(trial.tokens, seconds.length);
  const rates = seconds.map((value, i) => tokens[i] / value);
  charts.draw(document.querySelector("#rates [data-chart]"), () => ({
    traces: [{
      x: rates.map((_, i) => i + 1), y: rates, mode: "markers",
      marker: { color: charts.colour(0), size: 5, opacity: 0.8 },
      hovertemplate: "%{y:,.3r} tokens/s<extra>epoch %{x}</extra>",
    }],
    layout: {
      xaxis: charts.axis("epoch", { rangemode: "tozero" }),
      yaxis: charts.axis("tokens/s", { rangemode: "tozero" }),
    },
  }));
})();

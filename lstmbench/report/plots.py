"""Plots as SVG, made with matplotlib from the same figures as the tables."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from lstmbench import statistics
from lstmbench.report.figures import Setting
from lstmbench.report.text import one_line

#: Okabe & Ito's colours, told apart with any kind of colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#b8a900")
DASHES = ("-", "--", ":", "-.")


def perplexity_svg(tables: Sequence[Setting]) -> str:
    """Training perplexity against epoch, log scale; colour by backend, dashes by setting."""
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.add_subplot()
    labels = sorted({row.label for setting in tables for row in setting.rows})
    for dash, setting in enumerate(tables):
        for row in setting.rows:
            if not row.first.epochs.nats:
                continue
            series = [
                value if math.isfinite(value) else math.nan
                for value in statistics.perplexities(row.first.epochs)
            ]
            name = (
                row.label
                if row.first.trial.device == "cpu"
                else (f"{row.label} {row.first.trial.device}")
            )
            if len(tables) > 1:
                name = f"{name} ({row.first.trial.init})"
            axes.plot(
                range(1, len(series) + 1),
                series,
                color=COLOURS[labels.index(row.label) % len(COLOURS)],
                linestyle=DASHES[dash % len(DASHES)],
                linewidth=1.2,
                label=one_line(name).replace("$", r"\$"),  # no formula
            )
    axes.set(xlabel="epoch", ylabel="perplexity (training pass)", yscale="log")
    for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis(ScalarFormatter())
    axes.grid(alpha=0.3, which="both")
    if axes.lines:
        axes.legend(fontsize="small")
    out = io.StringIO()
    # the same records give the same bytes: no date, no random ids
    with matplotlib.rc_context({"svg.hashsalt": "lstmbench", "svg.fonttype": "path"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()

"""Plots as SVG, made with matplotlib from the same figures as the tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lstmbench.analysis import roofline, series
from lstmbench.analysis.metrics import OPERATIONS_PER_SECOND, SHARE_OF_PEAK
from lstmbench.analysis.tables import Row, Table
from lstmbench.messages import one_line
from lstmbench.records.trial import differences
from lstmbench.report.drawing import Axes, Figure, ScalarFormatter, own_settings, to_svg
from lstmbench.report.sweeps import SIZES, Sweep

#: Okabe & Ito's colours, distinct with any kind of colour vision.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#b8a900")
DASHES = ("-", "--", ":", "-.")
MARKERS = "osD^vP*X"


@own_settings()
def perplexity_svg(tables: Sequence[Table]) -> str:
    """Training perplexity against epoch, log scale; colour by backend, dashes by table.

    Of several seeds their geometric mean, and a band from the lowest to the highest.
    """
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.add_subplot()
    labels = _labels(tables)
    settings = differences([table.first.trial for table in tables])
    for dash, (table, own) in enumerate(zip(tables, settings, strict=True)):
        for row in table.rows:
            curves = _curves(row)
            if not len(curves):
                continue
            epochs = range(1, curves.shape[1] + 1)
            name = _name(row)
            words = [own] if own else []
            if len(curves) > 1:
                words.append(f"mean and range of {len(curves)} seeds")
                lowest, highest = curves.min(axis=0), curves.max(axis=0)
                axes.fill_between(
                    epochs, lowest, highest, color=_colour(labels, row), alpha=0.2, linewidth=0
                )
            if words:
                name = f"{name} ({', '.join(words)})"
            axes.plot(
                epochs,
                # of one seed, which has no mean, to the last digit
                np.exp(np.log(curves).mean(axis=0)) if len(curves) > 1 else curves[0],
                color=_colour(labels, row),
                linestyle=DASHES[dash % len(DASHES)],
                linewidth=1.2,
                label=_plain(name),
            )
    axes.set(xlabel="epoch", ylabel="perplexity (training pass)", yscale="log")
    for axis in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        axis(ScalarFormatter())
    return _finish(figure, [axes])


@own_settings()
def roofline_svg(tables: Sequence[Table]) -> str:
    """Achieved GFLOP/s against operations per byte, beneath the measured roofs of each device.

    At least one trial must have a measured peak.
    """
    rows = [row for table in tables for row in table.rows if row.figure(SHARE_OF_PEAK)]
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.add_subplot()
    labels = _labels(tables)
    places = [roofline.record_cost(row.first).intensity for row in rows]
    reach = np.geomspace(min(places) / 30, max(places) * 10, 200)
    roofs: dict[str, list[Row]] = {}
    for row in rows:
        roofs.setdefault(_roof(row), []).append(row)
    for name, beneath in roofs.items():
        records = [record for row in beneath for record in row.ok_records]
        flat = series.median_of(roofline.peak(record) for record in records)
        slope = series.median_of(roofline.bandwidth(record) for record in records)
        assert flat is not None
        roof = np.minimum(flat, reach * slope) if slope else np.full_like(reach, flat)
        axes.plot(reach, roof / 1e9, color="#777777", linewidth=1.2, label=_plain(name))
    for index, (row, place) in enumerate(zip(rows, places, strict=True)):
        axes.plot(
            [place],
            [(row.value(OPERATIONS_PER_SECOND) or 0.0) / 1e9],
            marker=MARKERS[index % len(MARKERS)],
            linestyle="none",
            color=_colour(labels, row),
            label=_plain(f"{_name(row)}, {_size(row)}"),
        )
    axes.set(
        xlabel="floating-point operations per byte (compulsory traffic)",
        ylabel="GFLOP/s",
        xscale="log",
        yscale="log",
    )
    return _finish(figure, [axes])


@own_settings()
def scaling_svg(sweep: Sweep) -> str:
    """Tokens/s, and per cent of the peak, against the size that a sweep runs over."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    labels = _labels(list(sweep.tables.values()))
    for rows in sweep.rows().values():
        first = next(iter(rows.values()))
        speeds = [(v, row.speed.value) for v, row in rows.items() if row.speed]
        shared = ((v, row.value(SHARE_OF_PEAK)) for v, row in rows.items())
        shares = [(v, 100 * share) for v, share in shared if share]
        for axes, points in ((left, speeds), (right, shares)):
            if points:
                axes.plot(
                    *zip(*points, strict=True),
                    marker="o",
                    linewidth=1.2,
                    color=_colour(labels, first),
                    label=_plain(_name(first)),
                )
    name = SIZES[sweep.size]
    left.set(xlabel=name, ylabel="tokens/s", xscale="log", yscale="log")
    right.set(xlabel=name, ylabel="% of peak", xscale="log", ylim=(0, None))
    for axes in (left, right):
        axes.set_xticks(list(sweep.tables), [str(value) for value in sweep.tables])
        axes.xaxis.set_minor_formatter("")
    return _finish(figure, [left, right])


def _curves(row: Row) -> np.ndarray:
    """``[seeds, epochs]``: perplexities of the first trial of each seed that trained.

    Of the ``ok`` ones, or else of the first that trained at all. What is not finite is no number.
    """
    trained = [record for record in row.ok_records or row.records if record.epochs.nats]
    by_seed = {record.trial.seed: record for record in reversed(trained)}
    chosen = [by_seed[seed] for seed in sorted(by_seed)] if row.ok_records else trained[:1]
    if not chosen:
        return np.empty((0, 0))
    found = [series.perplexities(record.epochs) for record in chosen]
    shortest = min(map(len, found))
    curves = np.array([own[:shortest] for own in found])
    return np.where(np.isfinite(curves), curves, math.nan)


def _labels(tables: Sequence[Table]) -> list[str]:
    return sorted({row.label for table in tables for row in table.rows})


def _colour(labels: Sequence[str], row: Row) -> str:
    return COLOURS[labels.index(row.label) % len(COLOURS)]


def _name(row: Row) -> str:
    device = row.first.trial.device
    return row.label if device == "cpu" else f"{row.label} {device}"


def _roof(row: Row) -> str:
    """What has a peak of its own."""
    trial, machine = row.first.trial, row.first.machine
    threads = f"{trial.threads} thread{'s' * (trial.threads > 1)}"
    return f"roof of {trial.device}, {threads}, {trial.dtype}, machine {machine.digest[:4]}"


def _size(row: Row) -> str:
    protocol = row.first.trial.protocol
    return f"hidden {protocol.hidden_size}, batch {protocol.batch_size}"


def _plain(text: str) -> str:
    """A label that is no formula, and none that is hidden, as those that begin with ``_`` are."""
    label = one_line(text).replace("$", r"\$")
    return f" {label}" if label.startswith("_") else label


def _finish(figure: Figure, plots: Sequence[Axes]) -> str:
    for axes in plots:
        axes.grid(alpha=0.3, which="both")
    if plots[0].lines:
        plots[0].legend(fontsize="small")
    return to_svg(figure)

"""How a tensor differs from the expected one: by a factor, a direction, or altogether."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lstmbench.worker.parity import relative_error


class Mismatch(AssertionError):
    """A failed check; ``lines`` explain it in detail."""

    def __init__(self, message: str, lines: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.lines = tuple(lines)


@dataclass(frozen=True)
class Difference:
    """``|got - expected| / |expected|``, and how ``got`` lies to ``expected``.

    ``scale`` is the ratio of their norms, negative where they point in opposite directions;
    ``cosine`` that of the angle between them, ``None`` for a number. Both are ``None`` where there
    is nothing to compare, and ``fault`` says why.
    """

    name: str
    error: float
    scale: float | None = None
    cosine: float | None = None
    fault: str = ""

    def __str__(self) -> str:
        if self.scale is None:
            return f"{self.name}: {self.fault}"
        size = f"{abs(self.scale):{'.3f' if 0.01 <= abs(self.scale) < 1000 else '.3g'}}"
        sign, error = "-" if self.scale < 0 else "", f"relative error {self.error:.1e}"
        if self.cosine is None:
            return f"{self.name}: got = {sign}{size} x expected ({error})"
        if abs(self.cosine) > 0.9995:
            how = f"got = {sign}{size} x expected"
        else:
            how = f"another direction, {size} times as long as expected"
        return f"{self.name}: {how}, cosine {self.cosine:.3f} ({error})"


def difference(name: str, got: np.ndarray, expected: np.ndarray) -> Difference:
    """``got`` against ``expected``: tensors, or numbers as arrays without axes."""
    error = relative_error(got, expected)
    if got.shape != expected.shape:
        return Difference(name, error, fault=f"expected shape {expected.shape}, got {got.shape}")
    broken = int(np.size(got) - np.isfinite(got).sum())
    if broken:
        return Difference(name, error, fault=f"{broken} of {got.size} values are not finite")
    sizes = [float(np.linalg.norm(array)) for array in (got, expected)]
    if not sizes[1]:
        return Difference(name, error, fault=f"expected zero, got a norm of {sizes[0]:.3g}")
    if not sizes[0]:
        return Difference(name, error, fault="got zero: nothing has changed")
    cosine = float(np.vdot(got.astype(np.float64), expected) / sizes[0] / sizes[1])
    scale = float(np.copysign(sizes[0] / sizes[1], cosine))
    return Difference(name, error, scale, cosine if got.ndim else None)

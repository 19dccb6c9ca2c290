"""Dropout of non-recurrent connections, in NumPy.

Each number is dropped with some probability, and what stays is divided by the probability of
staying, so that the mean stays too; nothing is dropped in evaluation. Masks are drawn anew for
every number of every step of every window. What is carried through time is never dropped.

Sources: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting",
JMLR 15 (2014); where it is applied in a recurrent network: Zaremba, Sutskever & Vinyals, "Recurrent
neural network regularization" (2014), equation and figure 2.
"""

from __future__ import annotations

import numpy as np


class Dropout:
    """Draws masks from a generator of its own."""

    def __init__(self, rate: float, seed: int) -> None:
        self.rate = rate
        self._rng = np.random.default_rng([seed, 2])

    def mask(self, like: np.ndarray) -> np.ndarray | None:
        """Zeros and ``1 / (1 - rate)``, in shape and dtype of ``like``; ``None`` without dropout.

        Drawn in float32, so that a mask does not depend on the dtype.
        """
        if not self.rate:
            return None
        kept = self._rng.random(like.shape, np.float32) >= self.rate
        mask: np.ndarray = kept.astype(like.dtype) / like.dtype.type(1 - self.rate)
        return mask

"""The 1,797 handwritten digits that scikit-learn ships, split once and for all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

INK = 16.0  # the darkest pixel


@dataclass(frozen=True)
class Digits:
    """Pixels between 0 and 1, one row a picture, and the digit that each one shows."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def load(seed: int) -> Digits:
    pixels, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        pixels / INK, labels, test_size=0.25, stratify=labels, random_state=seed
    )
    return Digits(train_x, train_y, test_x, test_y)

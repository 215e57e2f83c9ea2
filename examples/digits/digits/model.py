"""A small neural network, trained one epoch at a time so that its progress can be watched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sklearn.neural_network import MLPClassifier

from .data import Digits
from .settings import Settings


@dataclass(frozen=True)
class Progress:
    """How the model does after an epoch; the accuracy is on pictures it never saw."""

    epoch: int
    loss: float
    accuracy: float


def new(settings: Settings) -> MLPClassifier:
    return MLPClassifier(
        hidden_layer_sizes=(settings.hidden_units,),
        learning_rate_init=settings.learning_rate,
        batch_size=settings.batch_size,
        random_state=settings.seed,
    )


def train(model: MLPClassifier, digits: Digits, settings: Settings) -> Iterator[Progress]:
    for epoch in range(1, settings.epochs + 1):
        model.partial_fit(digits.train_x, digits.train_y, classes=range(10))
        accuracy = float(model.score(digits.test_x, digits.test_y))
        yield Progress(epoch, loss=float(model.loss_), accuracy=accuracy)

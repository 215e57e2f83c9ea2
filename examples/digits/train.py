"""
Train a recogniser of handwritten digits, print its progress, and keep the result in output/.

An ordinary training script: it knows nothing of the system that launches it, apart from
reading its changed settings from WANDB_CONFIG. Exit code 0 means trained, 3 means that the
settings are wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import sys
import time
from dataclasses import asdict
from pathlib import Path

from digits import data, model
from digits.settings import BadSettings, Settings, read

HERE = Path(__file__).parent
BAD_SETTINGS = 3


def main() -> int:
    try:
        settings = read(HERE / "config.yaml", os.environ, flags())
    except BadSettings as error:
        print(f"config: {error}", file=sys.stderr, flush=True)
        return BAD_SETTINGS
    train(settings)
    return 0


def flags() -> dict[str, object]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--hidden-units", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int)
    return {name: value for name, value in vars(parser.parse_args()).items() if value is not None}


def train(settings: Settings) -> None:
    say(f"settings {json.dumps(asdict(settings))}")
    digits = data.load(settings.seed)
    say(f"data {len(digits.train_y)} pictures to learn from, {len(digits.test_y)} to be tested on")
    started = time.monotonic()
    network = model.new(settings)
    for step in model.train(network, digits, settings):
        say(
            f"epoch {step.epoch:>3}/{settings.epochs}"
            f"  loss {step.loss:.4f}  accuracy {step.accuracy:.3f}"
        )
    say(f"trained in {time.monotonic() - started:.1f} s, accuracy {step.accuracy:.3f}")
    keep(network, {"accuracy": step.accuracy, "loss": step.loss, "epochs": settings.epochs})


def keep(network: object, metrics: dict[str, float]) -> None:
    output = Path("output")
    output.mkdir(exist_ok=True)
    (output / "model.pickle").write_bytes(pickle.dumps(network))
    (output / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    say(f"wrote {output / 'model.pickle'} and {output / 'metrics.json'}")


def say(line: str) -> None:
    print(line, flush=True)  # at once: whoever follows the log watches the training live


if __name__ == "__main__":
    sys.exit(main())

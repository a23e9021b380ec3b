"""Fits in processes of their own that are killed at random moments, and started again.

``python tests/killed_fits.py FOLDER SEED MOST`` prints how many were killed, at most `MOST`,
whether the last one ended with the weights and history of a fit that nobody killed, and what is in
the folder.
"""

import hashlib
import json
import os
import random
import select
import signal
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning

from sklstm import StackedLSTMRegressor

torch.set_num_threads(1)
warnings.simplefilter("ignore", ConvergenceWarning)


def fitted(folder=None):
    """Fit a stack, then let it grow, with all that has a state of its own."""
    X = np.random.default_rng(0).normal(size=(400, 10, 2))
    y = X[:, -3:, 0].sum(axis=1) ** 2
    model = StackedLSTMRegressor(
        units=8,
        linear_steps=4,
        dropout=0.2,
        early_stopping=True,
        n_iter_no_change=6,
        max_epochs=30,
        batch_size=16,
        random_state=0,
        checkpoint=folder and folder / "two.ckpt",
    ).fit(X, y)
    grown = folder and folder / "three.ckpt"
    return model.set_params(n_layers=3, warm_start=True, checkpoint=grown).fit(X, y)


def weights_of(model):
    """Hash of all weights and of the history but for its seconds."""
    values = b"".join(v.numpy().tobytes() for v in model.module_.state_dict().values())
    rows = [
        {name: value for name, value in row.items() if name not in ("batches", "dur")}
        for row in model.history_
    ]
    history = json.dumps(rows, sort_keys=True, default=float)
    return hashlib.sha256(values + history.encode()).hexdigest()


def killed_fit(folder, draw, most):
    """Fit in processes that are killed, at most so many, until one is done.

    Some are killed as they begin, the others in the epochs after the first that they finish.
    """
    n_killed = 0
    while True:
        begun, (reader, writer) = written(folder), os.pipe()
        process = os.fork()
        if process == 0:
            try:
                os.write(writer, weights_of(fitted(folder)).encode())
            finally:
                os._exit(0)
        os.close(writer)
        at_once = draw.random() < 0.2
        while not at_once and written(folder) == begun and not is_done(reader, 0.001):
            pass
        if is_done(reader, draw.uniform(0, 0.1) if n_killed < most else None):
            result = os.read(reader, 100).decode()
            os.waitpid(process, 0)
            return n_killed, result
        os.kill(process, draw.choice([signal.SIGKILL, signal.SIGTERM]))
        os.waitpid(process, 0)
        os.close(reader)
        n_killed += 1


def written(folder):
    """Tell one state of the checkpoints from another."""
    return {path.name: path.stat().st_ino for path in folder.glob("*.ckpt")}


def is_done(reader, seconds):
    """Wait so long for an answer."""
    return bool(select.select([reader], [], [], seconds)[0])


if __name__ == "__main__":
    folder, seed, most = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    n_killed, result = killed_fit(folder, random.Random(seed), most)
    undisturbed = weights_of(fitted())
    print(n_killed, result == undisturbed, *sorted(path.name for path in folder.iterdir()))

"""Measure what the documentation promises of threads, forks, Dense heads and `partial_fit`.

Each figure is a count, or the ratio of two times, which are measured in turns in one process.

    python benchmarks/promises.py threads    two fits in two threads, compared with one fit
    python benchmarks/promises.py forks      children that fit while a thread of the parent fits
    python benchmarks/promises.py heads      Dense layers in fixed blocks, compared with nn.Linear
    python benchmarks/promises.py partial_fit    32 rows, compared with plain skorch
"""

import os
import sys
import threading
import time
import warnings

import numpy as np
import torch
from skorch import NeuralNetRegressor

import sklstm.nn.layers
from sklstm import StackedLSTM, StackedLSTMRegressor

N_CHILDREN, MOST_SECONDS = 200, 60


def windows(n_samples, n_timesteps):
    """Make windows of six features, and a target that is one of them."""
    X = np.random.default_rng(0).normal(size=(n_samples, n_timesteps, 6)).astype(np.float32)
    return X, X[:, -1, 0]


def seconds(work):
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def threads():
    """Print the time of two fits at once, divided by that of one."""
    X, y = windows(2000, 24)

    def fit(seed=0):
        params = {"units": 64, "linear_steps": None, "max_epochs": 10}
        StackedLSTMRegressor(random_state=seed, **params).fit(X, y)

    def fit_two():
        both = [threading.Thread(target=fit, args=(seed,)) for seed in (0, 1)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()

    fit()
    one, two = zip(*((seconds(fit), seconds(fit_two)) for _ in range(3)), strict=True)
    print(f"one fit {min(one):.2f} s, two at once {min(two):.2f} s: {min(two) / min(one):.2f}")


def forks():
    """Print how many children hang, and how many get other bits."""
    X, y = windows(100, 12)
    model = StackedLSTMRegressor(units=40, max_epochs=2, random_state=0)
    expected, enough = model.fit(X, y).predict(X), threading.Event()

    def keep_fitting():
        while not enough.is_set():
            StackedLSTMRegressor(units=40, max_epochs=5, random_state=1).fit(X, y)

    thread = threading.Thread(target=keep_fitting)
    thread.start()
    n_hung = n_wrong = 0
    for _ in range(N_CHILDREN):
        child = os.fork()
        if not child:
            os._exit(not np.array_equal(model.fit(X, y).predict(X), expected))
        end, done = time.monotonic() + MOST_SECONDS, 0
        while not done and time.monotonic() < end:
            time.sleep(0.005)
            done, status = os.waitpid(child, os.WNOHANG)
        if done:
            n_wrong += status != 0
        else:
            n_hung += 1
            os.kill(child, 9)
            os.waitpid(child, 0)
    enough.set()
    thread.join()
    print(f"{N_CHILDREN} children: {n_hung} hung, {n_wrong} with other bits")


def heads():
    """Print the time of predictions, divided by that with nn.Linear in place of fixed blocks."""
    X, y = windows(512, 50)
    by_row = sklstm.nn.layers.linear_by_row

    def linear(x, weight, bias, training):
        return torch.nn.functional.linear(x, weight, bias)

    for params in ({"return_sequences": True, "head_units": (256, 256)}, {"units": (256, 128)}):
        targets = X[:, :, 0] if "return_sequences" in params else y
        model = StackedLSTMRegressor(max_epochs=0, random_state=0, **params)
        model.fit(X[:64], targets[:64])
        times = {by_row: [], linear: []}
        for _ in range(9):
            for function, taken in times.items():
                sklstm.nn.layers.linear_by_row = function
                taken.append(seconds(lambda model=model: model.predict(X)))
        sklstm.nn.layers.linear_by_row = by_row
        print(f"{params}: {min(times[by_row]) / min(times[linear]):.2f}")


def partial_fit():
    """Print the time of a call, divided by that of plain skorch."""
    X, y = windows(32, 24)
    model = StackedLSTMRegressor(random_state=0)
    net = NeuralNetRegressor(
        StackedLSTM,
        module__n_features=6,
        module__skip="residual",
        module__pooling="concat",
        optimizer=torch.optim.AdamW,
        max_epochs=1,
        batch_size=32,
        train_split=None,
        verbose=0,
    ).initialize()
    calls = [lambda: model.partial_fit(X, y), lambda: net.partial_fit(X, y[:, np.newaxis])]
    for call in 3 * calls:
        call()
    own, plain = np.array([[seconds(call) for call in calls] for _ in range(150)]).T
    ratios = np.median(own) / np.median(plain), own.min() / plain.min()
    print(f"medians {ratios[0]:.2f}, fastest {ratios[1]:.2f}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    {"threads": threads, "forks": forks, "heads": heads, "partial_fit": partial_fit}[sys.argv[1]]()

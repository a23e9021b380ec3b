"""Which skip connection: seven ways to join the layers of a stack, by depth.

Fits each for 6 epochs to 5,000 sequences of the adding problem (mean squared error on 2,000 others;
a constant prediction of 1 has 0.167) and to the demand windows (test RMSE in MW), with 32 units.
The two models of a depth have seeds 0 and 1, and the same data. `x + f(x)` is the library's form.
Then the processor time of one epoch of the adding problem, the forms in turn, three times over:
medians of the ratios to plain.

    python benchmarks/how_deep/skip_forms.py
"""

import argparse
import time
from typing import Any

import numpy as np
import torch
from data import ALONE, Arrays, adding_problem, demand_windows
from torch import Tensor, nn
from variants import Norm, stack_class

from sklstm import StackedLSTM, StackedLSTMRegressor
from sklstm.nn.layers import Dense, draw_weights
from sklstm.nn.stack import RANDOM_LAYERS


class Gain(nn.Module):
    """A skip connection that multiplies the output of a layer by a trained factor."""

    def __init__(self, start: float) -> None:
        super().__init__()
        self.start = start
        self.gain = nn.Parameter(torch.empty(1))

    def reset_parameters(self) -> None:
        """Set the factor that training begins with."""
        nn.init.constant_(self.gain, self.start)

    def forward(self, below: Tensor, output: Tensor) -> Tensor:
        """Join the input of a layer and its output."""
        return below + self.gain * output


def gained(gain: float, *, norm: bool = False) -> type[StackedLSTM]:
    """Make the class of stacks with x + a LSTM(x), or a LSTM(LayerNorm(x)), a from `gain`."""

    class Variant(StackedLSTM):
        def __init__(self, *args: Any, **parameters: Any) -> None:
            super().__init__(*args, **parameters)
            for n in range(len(self.skips)):
                self.skips[n] = Gain(gain)
                if norm:  # in the place of the dropout before the layer, not on the skip
                    self.dropouts[n] = Norm(self.layers[n].hidden_size)

        def reset_parameters(self, generator: torch.Generator | None = None) -> StackedLSTM:
            super().reset_parameters(generator)
            for layer in self.layers[RANDOM_LAYERS:]:  # a gain of 0 around zeros has no gradient
                draw_weights(layer, generator)
            for part in [*self.skips, *self.dropouts]:
                if isinstance(part, Gain | Norm):
                    part.reset_parameters()
            return self

    return Variant


class AllToAll(StackedLSTM):
    """The input to every layer, and every layer to the head (A. Graves, arXiv:1308.0850)."""

    def __init__(self, n_features: int, n_outputs: int, **parameters: Any) -> None:
        super().__init__(n_features, n_outputs, **parameters)
        units = self.layers[0].hidden_size
        for n in range(1, len(self.layers)):
            self.layers[n] = nn.LSTM(n_features + units, units, batch_first=True)
        self.head = Dense(len(self.layers) * units, n_outputs)

    def forward(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        scaled: bool = False,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Predict from the final outputs of all layers."""
        x = self.scale_inputs(x)
        outputs = [self.layers[0](x)[0]]
        for layer in self.layers[1:]:
            outputs.append(layer(torch.cat([x, outputs[-1]], dim=-1))[0])
        y = self.head(torch.cat([output[:, -1] for output in outputs], dim=-1))
        return y if scaled else self.unscale(y)


EPOCHS = 6
FORMS = {
    "plain": (StackedLSTM, None),
    "x + f(x)": (StackedLSTM, "residual"),
    "x + a f(x), a from 1": (gained(1.0), None),
    "x + a f(x), a from 0": (gained(0.0), None),
    "x + a f(norm x), a from 1": (gained(1.0, norm=True), None),
    "x + a f(norm x), a from 0": (gained(0.0, norm=True), None),
    "input to all, all to head": (AllToAll, None),
}


def fit(name: str, n_layers: int, seed: int, epochs: int, train: Arrays) -> StackedLSTMRegressor:
    variant, skip = FORMS[name]
    model = StackedLSTMRegressor(
        n_layers, 32, skip=skip, max_epochs=epochs, **ALONE, random_state=seed
    )
    with stack_class(variant):
        return model.fit(*train)


def table(title: str, train: Arrays, test: Arrays, depths: tuple[int, ...]) -> None:
    print(f"\n{title}; layers and seed:")
    runs = [(n_layers, seed) for n_layers in depths for seed in (0, 1)]
    print(" " * 26 + "".join(f"{n:>5} /{s:2}" for n, s in runs))
    for name in FORMS:
        print(f"{name:26}", end="")
        for n_layers, seed in runs:
            model = fit(name, n_layers, seed, EPOCHS, train)
            error = np.mean((model.predict(test[0]) - test[1]) ** 2)
            shown = f"{np.sqrt(error):9.1f}" if "MW" in title else f"{error:9.5f}"
            print(shown, end="", flush=True)
        print()


def times(train: Arrays, n_layers: int = 8, repeats: int = 3) -> None:
    print(f"\nTime of an epoch with {n_layers} layers, that of plain = 1:")
    seconds = np.empty((repeats, len(FORMS)))
    for place in np.ndindex(seconds.shape):
        start = time.process_time()
        fit(list(FORMS)[place[1]], n_layers, 0, 1, train)
        seconds[place] = time.process_time() - start
    ratios = np.median(seconds / seconds[:, :1], axis=0)
    for name, ratio in zip(FORMS, ratios, strict=True):
        print(f"{name:26}{ratio:9.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    choices = ["adding", "demand", "times"]
    parser.add_argument("--tables", nargs="+", choices=choices, default=choices)
    tables = parser.parse_args().tables
    torch.set_num_threads(1)
    adding = adding_problem(5000, 50, 0), adding_problem(2000, 50, 1000)
    if "adding" in tables:
        table("Adding problem, MSE", *adding, depths=(2, 8))
    if "demand" in tables:
        table("Demand, RMSE in MW", *demand_windows(), depths=(8,))
    if "times" in tables:
        times(adding[0])


if __name__ == "__main__":
    main()

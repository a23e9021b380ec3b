"""Whether upper layers are slower: how long each layer of a stack remembers a step.

Fits 4 layers of 32 units to the demand windows (24 steps, 6 epochs) and to 2,500 sequences of the
adding problem (50 steps, 12 epochs), residual and plain, and changes one step of the test set
(`layer_timescales`). Prints, before and after training, the half-life of the difference in the
output of each layer, in steps, "inf" if it never falls to half; the percentage of the largest
difference that is left after half the sequence (12 and 25 steps); and the test R2. The seeds are
those of the model; the data are the same.

    python benchmarks/how_deep/timescales.py
"""

import argparse

import torch
from data import ALONE, adding_problem, demand_windows
from sklearn.base import clone

from sklstm import StackedLSTMRegressor
from sklstm.inspection import layer_timescales


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)

    sets = {
        "demand": (demand_windows(), 6),
        "adding": ((adding_problem(2500, 50, 0), adding_problem(2000, 50, 1000)), 12),
    }
    layers = "".join(f"{n:6}" for n in (1, 2, 3, 4))
    print(f"{'':29}half-life, of layer       % left, of layer")
    print(f"data    skip  seed  weights {layers}  {layers}    R2")
    for data, ((train, test), epochs) in sets.items():
        for skip in ("residual", None):
            for seed in seeds:
                model = StackedLSTMRegressor(
                    4, 32, skip=skip, max_epochs=epochs, **ALONE, random_state=seed
                )
                initial = clone(model).set_params(max_epochs=0)
                for state, which in [("initial", initial), ("fitted", model)]:
                    found = layer_timescales(which.fit(*train), test[0])
                    left = 100 * found.difference[:, train[0].shape[1] // 2]
                    columns = "".join(f"{value:6.1f}" for value in found.half_life) + "  "
                    columns += "".join(f"{value:6.1f}" for value in left)
                    if which is model:
                        columns += f"{model.score(*test):6.2f}"
                    print(f"{data:8}{skip!s:9}{seed}  {state:8}{columns}", flush=True)


if __name__ == "__main__":
    main()

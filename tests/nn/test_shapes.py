from itertools import product

import pytest
import torch

from sklstm import StackedLSTM
from sklstm.nn.pooling import POOLINGS
from sklstm.nn.shapes import shapes_of_stack

PLAIN = {
    "n_layers": 3,
    "units": 2,
    "bidirectional": False,
    "skip": None,
    "pooling": "last",
    "head_units": [],
    "return_sequences": False,
    "linear_steps": 0,
    "n_quantiles": None,
    "standardize": True,
    "scaled_steps": 0,
    "dtype": torch.float32,
}
OTHERS = {
    "units": [[4, 4, 3]],
    "bidirectional": [False, True],
    "skip": [None, "residual"],
    "pooling": list(POOLINGS),
    "head_units": [[], [5, 2]],
    "return_sequences": [False, True],
    "linear_steps": [0, 3],
    "n_quantiles": [None, 1, 3],
    "standardize": [False, True],
    "scaled_steps": [0, 5],
    "dtype": [torch.float32, torch.float64],
}
PAIRS = [
    {one: a, other: b}
    for one, other in product(OTHERS, OTHERS)
    if one < other
    for a, b in product(OTHERS[one], OTHERS[other])
]


def described(named):
    return {name: (values.dtype, tuple(values.shape)) for name, values in named}


def test_shapes_are_those_of_the_stack():
    for n_outputs, changes in product((1, 2), PAIRS):
        sizes = {**PLAIN, **changes}
        with torch.device("meta"):
            module = StackedLSTM(5, n_outputs, **sizes)
        weights, buffers = shapes_of_stack(5, n_outputs, sizes)
        assert weights == described(module.named_parameters())
        assert buffers == described(module.named_buffers())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": [1, 2]}, "units must be one value or one for each of the n_layers=3"),
        ({"units": [1, 0, 1]}, "units must be integers of at least 1, got 0"),
        ({"units": [1, 2.0, 1]}, r"units must be integers of at least 1, got 2\.0"),
        ({"head_units": ["x"]}, "head_units must be integers of at least 1, got 'x'"),
        ({"linear_steps": -1}, "linear_steps must be integers of at least 1, got -1"),
        ({"units": 2**32}, "there is no such model"),
        ({"linear_steps": 2**62}, "there is no such model"),
    ],
)
def test_sizes_of_no_stack_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        shapes_of_stack(5, 1, {**PLAIN, **changes})


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0), (-1, 1), (1, True - 1)])
def test_no_features_and_no_outputs_are_refused(sizes):
    with pytest.raises(ValueError, match="integers of at least 1"):
        shapes_of_stack(*sizes, PLAIN)


def test_tensors_that_no_memory_holds_are_only_written_down():
    weights, _ = shapes_of_stack(1, 1, {**PLAIN, "units": 10**9})
    assert weights["layers.1.weight_hh_l0"] == (torch.float32, (4 * 10**9, 10**9))

"""Every entry of the registry of poolings is complete: it trains, is documented and exported."""

import re

import numpy as np
import onnxruntime
import pytest
import torch

from sklstm import StackedLSTM, StackedLSTMRegressor
from sklstm.inspection import architecture
from sklstm.interop import to_onnx
from sklstm.nn.pooling import POOLINGS
from sklstm.nn.shapes import shapes_of_stack

every_pooling = pytest.mark.parametrize("name", POOLINGS)
both = pytest.mark.parametrize("bidirectional", [False, True], ids=["forwards", "both"])
X = np.random.default_rng(0).normal(size=(30, 7, 2))


def fitted(name, **parameters):
    model = StackedLSTMRegressor(
        units=4, pooling=name, linear_steps=None, max_epochs=2, random_state=0, **parameters
    )
    return model.fit(X, X[:, -1, 0])


@every_pooling
def test_it_is_an_option_of_a_fit_and_in_the_summary(name):
    model = fitted(name)
    assert np.isfinite(model.predict(X)).all()
    (part,) = [part for part in architecture(model).parts if part.name == "pooling"]
    assert part.notes == POOLINGS[name].words
    assert part.outputs == f"{4 * POOLINGS[name].n_vectors} numbers"
    words = [pooling.words for pooling in POOLINGS.values()]
    assert words.count(part.notes) == 1


@both
@every_pooling
def test_its_width_is_that_of_the_head_and_of_stored_tensors(name, bidirectional):
    sizes = {
        "n_layers": 2,
        "units": 4,
        "bidirectional": bidirectional,
        "skip": None,
        "pooling": name,
        "head_units": [],
        "return_sequences": False,
        "linear_steps": 0,
        "n_quantiles": None,
        "standardize": False,
        "scaled_steps": 0,
        "dtype": torch.float32,
    }
    module = StackedLSTM(2, 1, **sizes)
    sequence = torch.randn(3, 7, 8 if bidirectional else 4)
    pooled = POOLINGS[name].pool(sequence, None, bidirectional)
    assert pooled.shape == (3, module.head[0].in_features)
    weights, _ = shapes_of_stack(2, 1, sizes)
    assert weights["head.0.weight"] == (torch.float32, (1, pooled.shape[1]))


@both
@every_pooling
def test_padding_does_not_count(name, bidirectional):
    pool = POOLINGS[name].pool
    sequence = torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([7, 1, 4])
    for own, steps, length in zip(
        pool(sequence, lengths, bidirectional), sequence, lengths, strict=True
    ):
        alone = pool(steps[None, :length], None, bidirectional)
        torch.testing.assert_close(own, alone[0], rtol=0, atol=1e-6)


@both
@every_pooling
def test_it_is_exported_to_onnx(name, bidirectional, tmp_path):
    model = fitted(name, bidirectional=bidirectional)
    to_onnx(model, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (y,) = session.run(["y"], {"X": X})
    np.testing.assert_allclose(y, model.predict(X), rtol=0, atol=1e-5)


@pytest.mark.parametrize("documented", [StackedLSTM, StackedLSTMRegressor])
def test_the_documentation_names_every_pooling(documented):
    (names,) = re.findall(r"^    pooling : {(.*?)}", documented.__doc__, re.MULTILINE)
    assert names == ", ".join(f'"{name}"' for name in POOLINGS)

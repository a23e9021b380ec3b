"""Training continued: fit with warm_start, and partial_fit."""

import numpy as np
import pytest
import torch
from small_models import ragged, small

from sklstm import load, save
from sklstm.exceptions import SequenceDataWarning


def test_warm_start_goes_on_from_the_fitted_weights(sequences):
    X, y = sequences
    model = small(warm_start=True, lr=0.02, max_epochs=15).fit(X, y)
    first = model.loss_curve_[-1]
    model.fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == 30
    assert model.loss_curve_[15] < 1.5 * first
    assert [row["epoch"] for row in model.history_] == list(range(1, 31))


def test_warm_start_keeps_the_statistics(sequences):
    X, y = sequences
    model = small(warm_start=True).fit(X, y)
    mean = model.module_.input_scaler.mean.clone()
    with pytest.warns(SequenceDataWarning, match=r"100% of the values of feature 0 .* 10 standard"):
        assert torch.equal(model.fit(X + 100, y).module_.input_scaler.mean, mean)


def test_scales_of_columns_are_kept_by_a_warm_start_and_by_a_file(tmp_path, sequences):
    X = sequences[0][:, :, 0] + np.arange(7) * 100
    model = small(warm_start=True).fit(X, sequences[1])
    scale = model.module_.input_scaler.scale.clone()
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert np.array_equal(loaded.predict(X), model.predict(X))
    model.fit(X + 1, sequences[1])
    assert torch.equal(model.module_.input_scaler.scale, scale)


def test_no_epochs_change_nothing(sequences):
    X, y = sequences
    model = small(warm_start=True).fit(X, y)
    before = model.predict(X)
    model.set_params(max_epochs=0).fit(X, y)
    assert np.array_equal(model.predict(X), before)
    assert small(max_epochs=0).fit(X, y).n_iter_ == 0


def test_without_warm_start_fit_starts_afresh(sequences):
    X, y = sequences
    model = small().fit(X, y)
    first = model.predict(X)
    assert np.array_equal(model.fit(X, y).predict(X), first)
    assert model.n_iter_ == 3


def test_the_same_units_may_be_given_layer_by_layer(sequences):
    X, y = sequences
    model = small(warm_start=True).fit(X, y)
    assert model.set_params(units=(8, 8)).fit(X, y).n_iter_ == 6


@pytest.mark.parametrize(
    "changed",
    [
        {"n_layers": 1},
        {"units": 9},
        {"skip": None},
        {"bidirectional": True},
        {"head_units": (4,)},
        {"pooling": "mean"},
    ],
)
def test_warm_start_refuses_another_architecture(changed, sequences):
    X, y = sequences
    model = small(warm_start=True).fit(X, y)
    before = model.predict(X)
    (name,) = changed
    with pytest.raises(ValueError, match=f"{name}=.*fitted with {name}="):
        model.set_params(**changed).fit(X, y)
    assert np.array_equal(model.predict(X), before)


def test_warm_start_takes_new_training_parameters(sequences):
    X, y = sequences
    model = small(warm_start=True, units=np.array([8, 4])).fit(X, y)
    model.set_params(lr=0.5, dropout=0.4, max_epochs=1, optimizer="sgd", batch_size=60).fit(X, y)
    assert model.n_iter_ == 4
    assert model.module_.dropouts[0].p == 0.4
    assert isinstance(model.net_.optimizer_, torch.optim.SGD)


def test_warm_start_refuses_another_number_of_targets(sequences):
    X, y = sequences
    model = small(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"n_outputs=2.*n_outputs=1"):
        model.fit(X, np.column_stack([y, y]))


def test_partial_fit_learns_an_epoch_a_call(sequences):
    X, y = sequences
    model = small(lr=0.02)
    for _ in range(60):
        model.partial_fit(X, y)
    assert model.n_iter_ == 60
    assert model.score(X, y) > 0.8


def test_partial_fit_keeps_the_optimizer(sequences):
    X, y = sequences
    model = small().partial_fit(X, y).partial_fit(X, y)
    steps = {int(state["step"]) for state in model.net_.optimizer_.state.values()}
    assert steps == {2 * 2}


def test_partial_fit_after_fit_trains_at_the_full_rate(sequences):
    X, y = sequences
    model = small(lr=0.02).fit(X, y).partial_fit(X, y)
    assert model.history_[-1]["lr"] == 0.02


def test_partial_fit_and_fit_shuffle_each_epoch_anew(sequences):
    X, y = sequences
    once = small(lr=0.01, lr_schedule="constant", max_epochs=2).fit(X, y)
    twice = small().partial_fit(X, y).partial_fit(X, y)
    assert np.array_equal(once.predict(X), twice.predict(X))


def test_partial_fit_takes_chunks_of_sequences():
    X = ragged(90)
    y = [x[:, 0] for x in X]
    model = small(return_sequences=True)
    for start in (0, 30, 60):
        model.partial_fit(X[start : start + 30], y[start : start + 30])
    assert model.n_iter_ == 3
    assert model.loss_curve_[2] < model.loss_curve_[0]


def test_partial_fit_takes_a_chunk_in_which_an_output_has_no_label():
    X = ragged(20)
    y = [x[:, :2] for x in X]
    model = small(return_sequences=True).partial_fit(X, y)
    model.partial_fit(X, [row * [1, np.nan] for row in y])
    assert np.isfinite(model.score(X, y))

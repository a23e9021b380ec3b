"""What is held out, when training stops, and what is told then."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from small_models import AtEpoch, interrupt, ragged, small


def test_early_stopping_holds_out_the_tail(sequences):
    X, y = sequences
    y = y.copy()
    y[-15:] += 1000 * y.std()
    model = small(early_stopping=True, validation_fraction=0.25, standardize=False).fit(X, y)
    assert min(model.validation_loss_curve_) > 1e3 * max(model.loss_curve_)


def test_early_stopping_restores_the_best_epoch(sequences):
    X, y = sequences
    rng = np.random.default_rng(0)
    model = small(early_stopping=True, max_epochs=80, n_iter_no_change=5, lr=0.05)
    model.fit(X, rng.permutation(y))
    assert model.n_iter_ < 80
    assert model.n_iter_ - model.best_epoch_ <= 5
    losses = model.validation_loss_curve_
    assert model.best_epoch_ == 1 + np.argmin(losses)
    stopped = small(early_stopping=True, max_epochs=80, n_iter_no_change=5, lr=0.05)
    stopped.set_params(callbacks=[AtEpoch(model.best_epoch_, interrupt)])
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        stopped.fit(X, np.random.default_rng(0).permutation(y))
    assert np.array_equal(stopped.predict(X), model.predict(X))


def test_an_equal_loss_is_no_improvement(sequences):
    model = small(early_stopping=True, max_epochs=30, n_iter_no_change=4, lr=1e-30)
    assert model.fit(*sequences).n_iter_ == 5


def test_without_early_stopping_every_epoch_is_run_on_all_samples(sequences):
    model = small(max_epochs=7).fit(*sequences)
    assert model.n_iter_ == len(model.loss_curve_) == 7
    assert model.validation_loss_curve_ == []


def test_early_stopping_needs_a_sample_to_train_on(sequences):
    X, y = sequences
    with pytest.raises(ValueError, match=r"validation_fraction=0.1.*n_samples=1"):
        small(early_stopping=True).fit(X[:1], y[:1])


@pytest.fixture
def many():
    """Like `sequences`, and enough of them to trust the loss on a third."""
    X = np.random.default_rng(0).normal(size=(120, 7, 3))
    return X, X[:, -2:, 0].sum(axis=1)


def falling(**params):
    """A model whose validation loss falls from epoch to epoch."""
    steady = {"lr": 0.005, "lr_schedule": "constant", "max_epochs": 10, "batch_size": 10}
    held_out = {"early_stopping": True, "validation_fraction": 0.3}
    return small(**{**held_out, **steady, **params})


def test_a_validation_loss_that_still_falls_at_the_end_is_told(many):
    with pytest.warns(ConvergenceWarning, match="still falling") as caught:
        model = falling().fit(*many)
    curve = model.validation_loss_curve_
    assert len(caught) == 1
    assert str(caught[0].message) == (
        "The validation loss was still falling when training ended after max_epochs=10 epochs "
        f"(from {min(curve[:8]):.3g} to {min(curve[8:]):.3g} in the last fifth of them). "
        "Raise max_epochs."
    )
    assert model.best_epoch_ == 10


@pytest.mark.parametrize(
    "params",
    [
        {"lr": 1e-6},
        {"max_epochs": 4},
        {"validation_fraction": 0.2},
        {"lr": 1e-30, "n_iter_no_change": 6},
        {"early_stopping": False},
        {"max_epochs": 0},
    ],
    ids=str,
)
def test_a_loss_that_hardly_falls_or_of_too_little_is_not_told(params, many):
    falling(**params).fit(*many)


def test_a_fit_that_goes_on_does_not_tell_that_the_loss_still_falls(many):
    X, y = many
    model = falling(max_epochs=4, warm_start=True).fit(X, y)
    model.set_params(max_epochs=10).fit(X, y)
    curve = model.validation_loss_curve_
    assert min(curve[-2:]) < 0.95 * min(curve[:-2])
    model.set_params(max_epochs=10, n_layers=3).fit(X, y).partial_fit(X, y)


def test_an_interrupted_fit_tells_of_the_interrupt_alone(many):
    with pytest.warns(ConvergenceWarning) as caught:
        falling(callbacks=[AtEpoch(10, interrupt)]).fit(*many)
    assert ["interrupted" in str(warning.message) for warning in caught] == [True]


def test_early_stopping_weighs_the_held_out_tail():
    X = ragged(40, longest=9)
    y = np.array([x[-1, 0] for x in X])
    weight = np.where(np.arange(40) < 30, 1, np.arange(40) % 2 + 1)
    params = {"early_stopping": True, "validation_fraction": 0.25, "precision": "float64"}
    weighted = small(**params).fit(X, y, sample_weight=weight)
    errors = (weighted.predict(X[30:]) - y[30:]) / weighted.module_.output_scaler.scale.item()
    expected = np.average(errors**2, weights=weight[30:])
    assert min(weighted.validation_loss_curve_) == pytest.approx(expected, rel=1e-6)


def test_early_stopping_holds_out_the_tail_of_sequences():
    X = ragged(40)
    y = np.array([x[-1, 0] for x in X])
    model = small(early_stopping=True, validation_fraction=0.25).fit(X, y)
    errors = (model.predict(X[30:]) - y[30:]) / model.module_.output_scaler.scale.item()
    best = model.validation_loss_curve_[model.best_epoch_ - 1]
    assert best == pytest.approx(np.square(errors).mean(), rel=1e-5)

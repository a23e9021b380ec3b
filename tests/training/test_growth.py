"""Growing a fitted stack: a raised n_layers on a warm start."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback

from sklstm import StackedLSTMRegressor

N_WEIGHTS_OF_A_LAYER = 4


def small(**params):
    return StackedLSTMRegressor(
        **{"units": 8, "max_epochs": 2, "warm_start": True, "random_state": 0, **params}
    )


@pytest.mark.parametrize(
    "params",
    [
        {"skip": "residual"},
        {"bidirectional": True},
        {"pooling": "concat"},
        {"head_units": (4,)},
        {"dropout": 0.3},
        {"loss": "quantile", "quantile": (0.1, 0.9)},
        {"precision": "float64"},
    ],
)
def test_growing_changes_no_prediction(params, sequences):
    X, y = sequences
    model = small(n_layers=1, **params).fit(X, y)
    before = model.predict(X)
    for n_layers in (2, 5):
        model.set_params(n_layers=n_layers, max_epochs=0).fit(X, y)
        assert len(model.module_.layers) == n_layers
        assert np.array_equal(model.predict(X), before)


def test_growing_changes_no_prediction_at_any_step():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(length, 2)) for length in rng.integers(1, 9, size=20)]
    y = [np.cumsum(x[:, 0]) for x in X]
    model = small(n_layers=2, return_sequences=True).fit(X, y)
    grown = pickle.loads(pickle.dumps(model)).set_params(n_layers=4, max_epochs=0).fit(X, y)
    for before, after in zip(model.predict(X), grown.predict(X), strict=True):
        assert np.array_equal(before, after)


def test_layers_of_other_sizes_grow_by_layers_like_the_top_one(sequences):
    X, y = sequences
    model = small(n_layers=2, units=(8, 4), dropout=(0.1, 0.2)).fit(X, y)
    before = model.predict(X)
    model.set_params(n_layers=3, units=(8, 4, 4), dropout=(0.1, 0.2, 0.3), max_epochs=0)
    assert np.array_equal(model.fit(X, y).predict(X), before)


def test_a_grown_stack_trains_old_and_new_layers(sequences):
    X, y = sequences
    model = small(n_layers=1).fit(X, y)
    model.set_params(n_layers=3, max_epochs=0).fit(X, y)
    before = {name: weights.clone() for name, weights in model.module_.state_dict().items()}
    model.set_params(max_epochs=3).fit(X, y)
    unchanged = [
        name
        for name, weights in model.module_.named_parameters()
        if torch.equal(weights, before[name])
    ]
    assert unchanged == []


def test_loss_curve_goes_on(sequences):
    X, y = sequences
    model = small(n_layers=1, max_epochs=15, lr=0.02).fit(X, y)
    curve = model.loss_curve_
    model.set_params(n_layers=2, max_epochs=5).fit(X, y)
    assert model.loss_curve_[:15] == curve
    assert model.n_iter_ == 20
    assert model.loss_curve_[15] < 1.5 * curve[-1]


def test_a_grown_stack_is_copied_and_cloned_like_any(sequences):
    X, y = sequences
    model = small(n_layers=1).fit(X, y).set_params(n_layers=3).fit(X, y)
    copied = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copied.predict(X), model.predict(X))
    assert copied.get_params() == model.get_params() == small(n_layers=3).get_params()
    assert np.array_equal(clone(model).fit(X, y).predict(X), small(n_layers=3).fit(X, y).predict(X))


@pytest.mark.bits
def test_growing_gives_the_same_bits_each_time(sequences):
    X, y = sequences
    first, second = (
        small(n_layers=1).fit(X, y).set_params(n_layers=2).fit(X, y).predict(X) for _ in range(2)
    )
    assert np.array_equal(first, second)


class KeepsState(Callback):
    """Remember how many steps the optimizer had taken for each weight when training began."""

    def on_train_begin(self, net, **kwargs):
        states = [net.optimizer_.state[weights] for weights in net.module_.parameters()]
        names = [name for name, _ in net.module_.named_parameters()]
        self.steps_ = {n: int(s["step"]) for n, s in zip(names, states, strict=True) if s}


def test_partial_fit_grows_and_keeps_the_optimizer_s_state_of_old_weights(sequences):
    X, y = sequences
    model = small(n_layers=1, batch_size=20).partial_fit(X, y)
    before = model.loss_curve_
    model.set_params(n_layers=2, callbacks=[("state", KeepsState())]).partial_fit(X, y)
    steps = dict(model.net_.callbacks_)["state"].steps_
    assert set(steps.values()) == {3}
    old = {name for name in steps if name.startswith("layers.0")}
    assert len(old) == N_WEIGHTS_OF_A_LAYER
    assert set(steps) == old | {"head.0.weight", "head.0.bias"}
    assert model.loss_curve_[:1] == before


def test_partial_fit_grows_with_another_optimizer(sequences):
    X, y = sequences
    model = small(n_layers=1).partial_fit(X, y)
    model.set_params(n_layers=2, optimizer="sgd").partial_fit(X, y)
    assert isinstance(model.net_.optimizer_, torch.optim.SGD)


class FromTheStart(torch.optim.SGD):
    """Has a state for each weight before the first step."""

    def __init__(self, params, lr, weight_decay=0.0):
        super().__init__(params, lr=lr, weight_decay=weight_decay)
        for weights in self.param_groups[0]["params"]:
            self.state[weights]["steps"] = 0

    def step(self, closure=None):
        for weights in self.param_groups[0]["params"]:
            self.state[weights]["steps"] += 1
        return super().step(closure)


def test_partial_fit_grows_with_an_optimizer_that_has_its_state_from_the_start(sequences):
    X, y = sequences
    model = small(n_layers=1, batch_size=60, optimizer=FromTheStart).partial_fit(X, y)
    model.set_params(n_layers=2).partial_fit(X, y)
    steps = [state["steps"] for state in model.net_.optimizer_.state.values()]
    assert sorted(set(steps)) == [1, 2]


def test_the_model_grown_from_keeps_its_own_history(sequences):
    X, y = sequences
    model = small(n_layers=1).fit(X, y)
    before = model.net_
    row = dict(before.history[0])
    model.set_params(n_layers=2).fit(X, y).history_[0]["train_loss"] = 0.0
    assert before.history[0] == row


def test_lowering_the_depth_is_refused(sequences):
    X, y = sequences
    model = small(n_layers=2).fit(X, y)
    before = model.predict(X)
    with pytest.raises(ValueError, match=r"n_layers=1, but .* fitted with n_layers=2"):
        model.set_params(n_layers=1).fit(X, y)
    assert np.array_equal(model.set_params(n_layers=2).predict(X), before)


def test_a_plain_stack_does_not_grow(sequences):
    X, y = sequences
    model = small(n_layers=1, skip=None).fit(X, y)
    with pytest.raises(ValueError, match="n_layers=2 cannot grow from 1 with skip=None"):
        model.set_params(n_layers=2).fit(X, y)
    assert model.set_params(skip="residual").fit(X, y).n_iter_ == 4


def test_a_plain_stack_stays_plain(sequences):
    X, y = sequences
    model = small(n_layers=2, skip=None).fit(X, y)
    with pytest.raises(ValueError, match=r"skip='residual', but .* fitted with skip=None"):
        model.set_params(n_layers=3, skip="residual").fit(X, y)


@pytest.mark.parametrize("units", [(8, 8, 4), (8, 8, 16), (8, 8, 8, 4), (8, 8, 4, 4), (4, 8, 8), 4])
def test_growing_by_other_units_is_refused(units, sequences):
    X, y = sequences
    model = small(n_layers=2).fit(X, y)
    n_layers = len(units) if isinstance(units, tuple) else 3
    with pytest.raises(ValueError, match=r"fitted with units=\[8, 8\] grows to \[8, 8, 8"):
        model.set_params(n_layers=n_layers, units=units).fit(X, y)


@pytest.mark.parametrize("changed", [{"pooling": "mean"}, {"head_units": (4,)}])
def test_growing_changes_nothing_else(changed, sequences):
    X, y = sequences
    model = small(n_layers=1).fit(X, y)
    (name,) = changed
    with pytest.raises(ValueError, match=f"{name}=.*fitted with {name}="):
        model.set_params(n_layers=2, **changed).fit(X, y)


def test_one_layer_has_no_skip_connection_to_differ_in(sequences):
    X, y = sequences
    model = small(n_layers=1, skip=None).fit(X, y)
    assert model.set_params(skip="residual").fit(X, y).n_iter_ == 4


def test_growing_from_nothing_is_a_fit(sequences):
    X, y = sequences
    fitted = small(n_layers=3).fit(X, y).predict(X)
    assert np.array_equal(small(n_layers=3, warm_start=False).fit(X, y).predict(X), fitted)

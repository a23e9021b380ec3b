"""Time scales, gradient flow and cost of the layers."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from skorch.callbacks import Callback

from sklstm import LagWindows, StackedLSTMRegressor
from sklstm.inspection import cost, depth_cost, gradient_flow, layer_timescales, timescales
from sklstm.pipelines import final_regressor

KNOWN = {"units": 1, "skip": None, "precision": "float64", "max_epochs": 0, "random_state": 0}


def small(**params):
    return StackedLSTMRegressor(**{"units": 6, "max_epochs": 2, "random_state": 0, **params})


def halving(X):
    return X / 2


def set_decay(lstm, forget):
    """Let one unit add up its input and keep `forget` of it at each step."""
    with torch.no_grad():
        for weights in lstm.parameters():
            weights.zero_()
        lstm.weight_ih_l0[2] = 1
        lstm.bias_ih_l0.copy_(torch.tensor([40.0, np.log(forget / (1 - forget)), 0, 40]))


def fit_with_decays(forgets, n_steps=60, **params):
    X = np.zeros((3, n_steps, 1))
    model = StackedLSTMRegressor(**{**KNOWN, "n_layers": len(forgets), **params})
    model.fit(X, np.arange(3.0))
    for layer, forget in zip(model.module_.layers, forgets, strict=True):
        set_decay(getattr(layer, "forward_layer", layer), forget)
    return model, X


def interpolated_half_life(curve):
    curve = curve[curve.argmax() :] / curve.max()
    steps = np.arange(len(curve))
    return np.interp(-0.5, -curve, steps)


@pytest.fixture
def ragged():
    rng = np.random.default_rng(0)
    X = [rng.normal(size=(length, 2)) for length in (9, 4, 12, 4, 7, 12, 5, 9)]
    return X, np.array([x[-3:, 0].sum() for x in X])


def snapshot(model):
    """All that a measurement could change, as it is now."""
    module = model.module_
    return {
        "attributes": dict(vars(model)),
        "state": {name: values.clone() for name, values in module.state_dict().items()},
        "modes": [part.training for part in module.modules()],
        "gradients": [weights.grad for weights in module.parameters()],
        "hooks": [
            (len(part._forward_hooks), len(part._forward_pre_hooks)) for part in module.modules()
        ],
        "n_epochs": len(model.history_),
        "optimizer": copy.deepcopy(model.net_.optimizer_.state_dict()["state"]),
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state()[1].copy(),
    }


def assert_unchanged(model, before):
    after = snapshot(model)
    for name in ("attributes", "modes", "hooks", "n_epochs"):
        assert after[name] == before[name]
    for name, values in before["state"].items():
        assert torch.equal(after["state"][name], values)
    assert all(a is b for a, b in zip(after["gradients"], before["gradients"], strict=True))
    torch.testing.assert_close(after["optimizer"], before["optimizer"], rtol=0, atol=0)
    assert torch.equal(after["torch"], before["torch"])
    assert np.array_equal(after["numpy"], before["numpy"])


MEASUREMENTS = {
    "layer_timescales": lambda model, X, y: layer_timescales(model, X),
    "gradient_flow": gradient_flow,
    "depth_cost": lambda model, X, y: depth_cost(model, X, y, (1, 2), n_epochs=1),
}
every_measurement = pytest.mark.parametrize("measure", MEASUREMENTS.values(), ids=MEASUREMENTS)


@every_measurement
@pytest.mark.parametrize("training", [True, False])
def test_a_measurement_changes_nothing(measure, training, sequences):
    X, y = sequences
    model = small(dropout=0.3, bidirectional=True).fit(X, y)
    model.module_.train(training)
    before = snapshot(model)
    measure(model, X, y)
    assert_unchanged(model, before)
    with pytest.raises((ValueError, RuntimeError)):
        measure(model, X[:, :1] if measure is MEASUREMENTS["layer_timescales"] else X, y[1:])
    assert_unchanged(model, before)


@every_measurement
def test_a_measurement_works_wherever_torch_keeps_no_gradients(measure, sequences):
    X, y = sequences
    model = small().fit(X, y)
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            measure(model, X, y)


@every_measurement
@pytest.mark.parametrize("estimator", [Ridge(), make_pipeline(StandardScaler(), Ridge())])
def test_other_estimators_are_refused(measure, estimator, sequences):
    with pytest.raises(TypeError, match=r"ending in one, got .*Ridge"):
        measure(estimator, *sequences)


def test_the_final_regressor_is_at_the_end_of_the_innermost_pipeline():
    model = small()
    assert final_regressor(model) is model
    assert final_regressor(make_pipeline(LagWindows(), make_pipeline(model))) is model


# Time scales


@pytest.mark.parametrize("forget", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_half_life_is_that_of_a_known_decay(forget, bidirectional):
    model, X = fit_with_decays([forget], bidirectional=bidirectional)
    scales = layer_timescales(model, X, size=1e-4)
    decay = forget ** np.arange(X.shape[1] - 6.0)
    np.testing.assert_allclose(scales.difference, [decay], rtol=1e-6)
    np.testing.assert_allclose(scales.half_life, [interpolated_half_life(decay)], rtol=1e-6)
    assert scales.half_life[0] == pytest.approx(np.log(0.5) / np.log(forget), abs=0.03)
    assert scales.step == 6


def test_the_half_life_of_an_upper_layer_is_counted_from_its_peak():
    a, b = 0.9, 0.7
    model, X = fit_with_decays([a, b])
    scales = layer_timescales(model, X, step=0, size=1e-4)
    steps = np.arange(X.shape[1])
    response = (a ** (steps + 1.0) - b ** (steps + 1.0)) / (a - b)
    assert response.argmax() > 1
    np.testing.assert_allclose(scales.difference[1], response / response.max(), rtol=1e-6)
    assert scales.half_life[1] == pytest.approx(interpolated_half_life(response), rel=1e-6)


def test_a_half_life_does_not_depend_on_the_other_layers_path():
    plain, X = fit_with_decays([0.9, 0.7])
    residual, _ = fit_with_decays([0.9, 0.7], skip="residual")
    np.testing.assert_array_equal(
        layer_timescales(residual, X, size=1e-4).difference,
        layer_timescales(plain, X, size=1e-4).difference,
    )


def test_a_memory_that_does_not_fade_has_an_infinite_half_life():
    model, X = fit_with_decays([1 - 1e-12, 0.5])
    scales = layer_timescales(model, X)
    assert np.isinf(scales.half_life[0])
    np.testing.assert_allclose(scales.difference[0], 1)


def test_a_layer_that_sees_no_difference_has_no_half_life():
    model, X = fit_with_decays([0.5, 0.5])
    with torch.no_grad():
        model.module_.layers[1].weight_ih_l0.zero_()
    scales = layer_timescales(model, X)
    assert np.isfinite(scales.half_life[0])
    assert np.isnan(scales.half_life[1])
    assert not scales.difference[1].any()


def differences_one_by_one(model, X, step, size):
    """Outputs of a plain stack, sequence by sequence, with a step changed and without."""
    squares = [[[] for _ in range(max(map(len, X)))] for _ in model.module_.layers]
    for sequence in X:
        before = model.module_.scale_inputs(torch.tensor(sequence)).unsqueeze(0)
        after = before.clone()
        after[0, step] += size
        for rows, layer in zip(squares, model.module_.layers, strict=True):
            before, after = layer(before)[0], layer(after)[0]
            for t, difference in enumerate((after - before)[0].detach().double()):
                rows[t].append(float(difference.square().mean()))
    return np.sqrt([[np.mean(row) for row in rows[step:]] for rows in squares])


@pytest.mark.parametrize("standardize", [True, False])
def test_of_ragged_sequences_only_the_steps_that_exist_count(ragged, standardize, monkeypatch):
    X, y = ragged
    X = [10 * x + 3 for x in X]
    model = small(skip=None, standardize=standardize, precision="float64").fit(X, y)
    expected = differences_one_by_one(model, X, step=1, size=0.5)
    expected /= expected.max(axis=1, keepdims=True)
    for rows in (256, 3):
        monkeypatch.setattr(timescales, "PREDICT_ROWS", rows)
        scales = layer_timescales(model, X, step=1, size=0.5)
        np.testing.assert_allclose(scales.difference, expected, rtol=1e-9)


def test_missing_steps_are_those_of_a_ragged_list(ragged):
    X, y = ragged
    model = small().fit(X, y)
    padded = np.full((len(X), 15, 2), np.nan)
    for i, x in enumerate(X):
        padded[i, 2 : 2 + len(x)] = x
    np.testing.assert_array_equal(
        layer_timescales(model, padded).difference, layer_timescales(model, X).difference
    )


def test_the_default_step_is_a_tenth_into_the_shortest_sequence(ragged):
    X, y = ragged
    model = small().fit(X, y)
    assert layer_timescales(model, X).step == 0
    longer = [np.repeat(x, 7, axis=0) for x in X]
    assert layer_timescales(model, longer).step == 2
    np.testing.assert_array_equal(
        layer_timescales(model, longer).difference,
        layer_timescales(model, longer, step=2).difference,
    )


def test_dropout_is_off():
    X = np.random.default_rng(0).normal(size=(10, 8, 1))
    model = small(n_layers=3, dropout=0.5).fit(X, X[:, -1, 0])
    first, second = (layer_timescales(model, X).difference for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_time_scales_reach_through_pipelines():
    table = np.random.default_rng(0).normal(size=(40, 3))
    pipeline = make_pipeline(
        StandardScaler(), make_pipeline(LagWindows(length=10), small(n_layers=3))
    )
    pipeline.fit(table, table[:, 0])
    windows = pipeline[-1][:-1].transform(pipeline[:-1].transform(table))
    direct = layer_timescales(final_regressor(pipeline), windows)
    through = layer_timescales(pipeline, table)
    np.testing.assert_array_equal(through.difference, direct.difference)
    assert through.half_life.shape == (3,)


@pytest.mark.parametrize("estimator", [small(), make_pipeline(LagWindows(), small())])
def test_time_scales_need_a_fitted_estimator(estimator):
    with pytest.raises(NotFittedError, match="StackedLSTMRegressor"):
        layer_timescales(estimator, np.zeros((30, 3)))


@pytest.mark.parametrize("step", [-1, 3, 4, 1.0, "1"])
def test_a_step_without_a_step_after_it_is_refused(step, ragged):
    X, y = ragged
    model = small().fit(X, y)
    assert layer_timescales(model, X, step=2).difference.shape == (2, 10)
    with pytest.raises(ValueError, match=rf"step must be an integer from 0 to 2.*got {step!r}"):
        layer_timescales(model, X, step=step)


@pytest.mark.parametrize("size", [0, np.nan, np.inf, "1", None])
def test_a_size_that_changes_nothing_is_refused(size, sequences):
    model = small().fit(*sequences)
    with pytest.raises(ValueError, match=f"size must be .* other than 0, got {size!r}"):
        layer_timescales(model, sequences[0], size=size)


def test_a_sequence_of_one_step_is_too_short(sequences):
    model = small().fit(*sequences)
    with pytest.raises(ValueError, match="X has a sequence of 1 step"):
        layer_timescales(model, sequences[0][:, :1])


# Gradient flow


def gradients_one_by_one(model, X, y):
    """Gradients of a plain stack's squared error, sequence by sequence."""
    module = copy.deepcopy(model.module_).train()
    module.zero_grad()
    norms = [[[] for _ in range(max(map(len, X)))] for _ in module.layers]
    for sequence, target in zip(X, y, strict=True):
        outputs = [module.scale_inputs(torch.tensor(sequence)).unsqueeze(0)]
        for layer in module.layers:
            outputs.append(layer(outputs[-1])[0])
            outputs[-1].retain_grad()
        error = module.head(outputs[-1][:, -1]) - module.scale(torch.tensor([[target]]))
        error.square().sum().backward()
        for rows, output in zip(norms, outputs[1:], strict=True):
            for back, gradient in enumerate(output.grad[0].flip(0)):
                rows[-1 - back].append(float(gradient.norm()))
    weights = [
        float(torch.cat([w.grad.flatten() for w in layer.parameters()]).norm()) / len(X)
        for layer in module.layers
    ]
    return weights, [[np.mean(row) for row in rows] for rows in norms]


@pytest.mark.parametrize("batch_size", [3, "auto"])
def test_gradients_are_those_of_autograd_aligned_at_the_end(ragged, batch_size):
    X, y = ragged
    model = small(
        n_layers=3,
        dropout=0.4,
        skip=None,
        pooling="last",
        linear_steps=None,
        batch_size=batch_size,
        precision="float64",
    ).fit(X, y)
    flow = gradient_flow(model, X, y)
    weights, outputs = gradients_one_by_one(model, X, y)
    assert flow.outputs.shape == (3, 12)
    np.testing.assert_allclose(flow.weights, weights, rtol=1e-9)
    np.testing.assert_allclose(flow.outputs, outputs, rtol=1e-9, atol=1e-15)


def test_the_order_of_the_samples_does_not_matter(ragged):
    X, y = ragged
    model = small(precision="float64").fit(X, y)
    flow, reverse = gradient_flow(model, X, y), gradient_flow(model, X[::-1], y[::-1])
    np.testing.assert_allclose(reverse.weights, flow.weights, rtol=1e-9)
    np.testing.assert_allclose(reverse.outputs, flow.outputs, rtol=1e-9, atol=1e-15)


def test_with_the_last_step_pooled_the_top_output_matters_there_alone(ragged):
    flow = gradient_flow(small(n_layers=3, pooling="last"), *ragged)
    assert (flow.outputs[-1, :-1] == 0).all()
    assert (flow.outputs[:, -1] > 0).all()
    assert (flow.outputs[:-1, -4:] > 0).all()


def test_an_unlabelled_step_carries_no_gradient():
    X = np.random.default_rng(0).normal(size=(20, 6, 2))
    y = X[:, :, 0].copy()
    y[:, 3:] = np.nan
    flow = gradient_flow(small(return_sequences=True), X, y)
    assert (flow.outputs[:, 3:] == 0).all()
    assert (flow.outputs[:, :3] > 0).all()


@pytest.mark.parametrize(
    "params",
    [
        {"bidirectional": True},
        {"pooling": "concat", "head_units": (4,)},
        {"loss": "quantile", "quantile": (0.1, 0.9)},
        {"loss": "huber", "units": (5, 7)},
        {"standardize": False},
    ],
)
def test_gradients_reach_every_layer_of_every_stack(params, ragged):
    flow = gradient_flow(small(**params), *ragged)
    assert (flow.weights > 0).all()
    assert flow.outputs.shape == (2, 12)
    assert np.isfinite(flow.outputs).all()


def test_gradients_before_a_fit_are_those_at_its_start(sequences):
    X, y = sequences
    model = small(skip=None, n_layers=3)
    flow = gradient_flow(model, X, y)
    assert not hasattr(model, "net_")
    start = gradient_flow(clone(model).set_params(max_epochs=0).fit(X, y), X, y)
    np.testing.assert_array_equal(flow.weights, start.weights)
    np.testing.assert_array_equal(flow.outputs, start.outputs)
    assert not np.allclose(gradient_flow(model.fit(X, y), X, y).weights, start.weights)


def test_gradients_vanish_through_a_plain_stack_but_not_through_a_residual_one(sequences):
    plain, residual = (
        gradient_flow(small(n_layers=8, skip=skip), *sequences).weights
        for skip in (None, "residual")
    )
    assert plain[0] < 0.01 * plain[-1]
    assert residual[0] > 0.1 * residual[-1]


class Forbidden(Callback):
    def on_train_begin(self, net, **kwargs):
        raise AssertionError


def test_gradients_before_a_fit_run_no_callback_of_the_user(sequences):
    gradient_flow(small(callbacks=[Forbidden()]), *sequences)


def test_gradients_reach_through_pipelines_fitted_or_not():
    X = np.random.default_rng(0).normal(size=(30, 6, 2))
    y = X[:, -1, 0]
    pipeline = make_pipeline(FunctionTransformer(halving), make_pipeline(small(standardize=False)))
    expected = gradient_flow(small(standardize=False), X / 2, y)
    np.testing.assert_array_equal(gradient_flow(pipeline, X, y).weights, expected.weights)
    assert not hasattr(final_regressor(pipeline), "net_")
    fitted = gradient_flow(small(standardize=False).fit(X / 2, y), X / 2, y)
    np.testing.assert_array_equal(gradient_flow(pipeline.fit(X, y), X, y).outputs, fitted.outputs)


def test_targets_unlike_those_of_the_fit_are_refused(sequences):
    X, y = sequences
    model = small().fit(X, y)
    with pytest.raises(ValueError, match=r"y has 2 outputs, but .* was fitted with 1"):
        gradient_flow(model, X, np.column_stack([y, y]))


# Cost


def test_a_cost_has_one_entry_a_depth(sequences):
    X, y = sequences
    model = small(n_layers=5)
    cost = depth_cost(model, X, y, (1, 3), n_epochs=2)
    assert cost.depths.tolist() == [1, 3]
    sizes = [small(n_layers=n, max_epochs=0).fit(X, y).n_parameters_ for n in (1, 3)]
    assert cost.n_parameters.tolist() == sizes
    assert cost.seconds_per_epoch.shape == (2,)
    assert (cost.seconds_per_epoch > 0).all()
    assert model.n_layers == 5
    assert not hasattr(model, "net_")


def test_seconds_are_the_median_of_the_epochs_after_the_first(sequences, monkeypatch):
    fitted_clone = cost.fitted_clone

    def with_durations(*args, **params):
        model = fitted_clone(*args, **params)
        assert len(model.history_) == 4
        for row, seconds in zip(model.history_, (50.0, 3.0, 1.0, 2.0), strict=True):
            row["dur"] = seconds
        return model

    monkeypatch.setattr(cost, "fitted_clone", with_durations)
    assert depth_cost(small(), *sequences, [1], n_epochs=3).seconds_per_epoch.tolist() == [2.0]


def test_memory_grows_by_the_same_for_each_layer(sequences):
    memory = depth_cost(small(), *sequences, (2, 3, 4), n_epochs=1).memory
    assert memory[2] - memory[1] == memory[1] - memory[0] > 0


def memory_of_one_layer(X, y, **params):
    return int(depth_cost(small(**params), X, y, (1,), n_epochs=1).memory[0])


def test_memory_holds_the_state_of_the_optimizer(sequences):
    X, y = sequences
    n_weights = small(n_layers=1, max_epochs=0).fit(X, y).n_parameters_
    adam, sgd = (memory_of_one_layer(X, y, optimizer=name) for name in ("adam", "sgd"))
    assert 2 * 4 * n_weights <= adam - sgd < 2 * 4 * n_weights + 100


def test_memory_kept_for_going_backwards_is_that_of_one_mini_batch(sequences):
    X, y = sequences
    one, two, three = (memory_of_one_layer(X, y, batch_size=n) for n in (16, 32, 48))
    more = memory_of_one_layer(np.concatenate([X, X]), np.concatenate([y, y]), batch_size=16)
    assert more == one
    assert three - two == pytest.approx(two - one, rel=0.3)
    gates_and_cells = 5 * 4 * 6 * X.shape[1]
    assert two - one > 16 * gates_and_cells


def test_memory_holds_the_masks_of_dropout(sequences):
    dropped, plain = (memory_of_one_layer(*sequences, dropout=rate) for rate in (0.5, 0.0))
    assert dropped > plain


def test_memory_counts_weights_and_gradients_once():
    X = np.random.default_rng(0).normal(size=(4, 2, 64))
    params = {"units": 64, "optimizer": "sgd", "batch_size": 1}
    n_weights = small(n_layers=1, max_epochs=0, **params).fit(X, np.arange(4)).n_parameters_
    memory = memory_of_one_layer(X, np.arange(4.0), **params)
    assert 2 * 4 * n_weights < memory < 2.5 * 4 * n_weights


def test_memory_is_that_of_the_longest_sequences(sequences):
    X, y = sequences
    ragged = [x[: 2 + (i >= 30) * 5] for i, x in enumerate(X)]
    equal = memory_of_one_layer(X, y, batch_size=30)
    shuffled = np.random.default_rng(0).permutation(60)
    unequal = memory_of_one_layer([ragged[i] for i in shuffled], y[shuffled], batch_size=30)
    assert equal <= unequal < 1.1 * equal


def test_a_cost_reaches_through_pipelines():
    table = np.random.default_rng(0).normal(size=(40, 3))
    pipeline = make_pipeline(StandardScaler(), make_pipeline(LagWindows(length=5), small()))
    cost = depth_cost(pipeline, table, table[:, 0], (1, 2), n_epochs=1)
    assert (
        cost.n_parameters[0]
        == small(n_layers=1, max_epochs=0).fit(np.zeros((4, 5, 3)), np.arange(4)).n_parameters_
    )


@pytest.mark.parametrize("depths", [(), (2, 1), (0, 1), 2, (1.5,)])
def test_bad_depths_are_refused(depths, sequences):
    with pytest.raises(
        ValueError, match="depths must be integers of at least 1 in increasing order"
    ):
        depth_cost(small(), *sequences, depths)


@pytest.mark.parametrize("n_epochs", [0, 1.5, None])
def test_bad_numbers_of_epochs_are_refused(n_epochs, sequences):
    with pytest.raises(ValueError, match=f"n_epochs must be .*, got {n_epochs}"):
        depth_cost(small(), *sequences, n_epochs=n_epochs)


def test_units_given_layer_by_layer_have_no_other_depth(sequences):
    with pytest.raises(ValueError, match="units must be one value or one for each"):
        depth_cost(small(units=(6, 6)), *sequences, (1, 2))


def test_time_scales_leave_X_as_it_was():
    X = np.random.default_rng(0).normal(size=(20, 8, 2))
    model = small(standardize=False, precision="float64").fit(X, X[:, -1, 0])
    before = X.copy()
    layer_timescales(model, X)
    assert np.array_equal(X, before)


def test_sequences_without_a_label_have_no_gradient():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 8, 2))
    y = X[:, :, 0].copy()
    y[10:] = np.nan
    model = small(return_sequences=True, max_epochs=0).fit(X, X[:, :, 0])
    whole, labelled = gradient_flow(model, X, y), gradient_flow(model, X[:10], y[:10])
    np.testing.assert_allclose(whole.weights, labelled.weights)
    np.testing.assert_allclose(whole.outputs, labelled.outputs)

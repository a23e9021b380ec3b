"""The steps of a fit: threads, precision, the norm of the gradient; and what a batch reads."""

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback
from torch import nn

from sklstm import LagWindows, StackedLSTM, StackedLSTMRegressor, load, save
from sklstm.data.sequences import Sequences
from sklstm.training.batches import Batches, SequenceDataset
from sklstm.training.callbacks import ClipNorm
from sklstm.training.net import resolve_autocast

has_bfloat16 = pytest.mark.skipif(
    not torch.backends.cpu.get_cpu_capability().startswith("AVX512"),
    reason="this processor has no AVX-512",
)


def small(**params):
    return StackedLSTMRegressor(
        **{"units": 8, "linear_steps": None, "max_epochs": 3, "random_state": 0, **params}
    )


@pytest.fixture
def sequences():
    X = np.random.default_rng(0).normal(size=(200, 10, 2))
    return X, X[:, -3:, 0].sum(axis=1)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Recorder(Callback):
    """Keep what a function of the net returns at the end of each batch."""

    def __init__(self, look):
        self.look = look

    def on_train_begin(self, net, **kwargs):
        self.seen_ = []

    def on_batch_end(self, net, **kwargs):
        self.seen_.append(self.look(net))


def seen(model):
    return dict(model.net_.callbacks_)["Recorder"].seen_


# threads


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    ("units", "batch_size", "chunks"),
    [
        (32, 32, {(32,), (8,)}),
        (32, 60, {(30, 30), (20,)}),
        ((8, 33), 50, {(25, 25)}),
        (16, 60, {(60,), (20,)}),
    ],
)
def test_a_batch_is_cut_by_the_size_of_the_model_and_each_chunk_has_one_thread(
    sequences, units, batch_size, chunks
):
    sizes = []

    def look(module, _args, inputs):
        if module.training:
            sizes.append((len(inputs["x"]), torch.get_num_threads()))

    class Watch(Callback):
        def on_train_begin(self, net, **kwargs):
            self.hook_ = net.module_.register_forward_pre_hook(look, with_kwargs=True)
            self.seen_ = set()

        def on_batch_end(self, net, training=False, **kwargs):
            self.seen_.add(tuple(sorted(size for size, _ in sizes)))
            assert {threads for _, threads in sizes} == {1}
            sizes.clear()

        def on_train_end(self, net, **kwargs):
            self.hook_.remove()

    params = {"units": units, "batch_size": batch_size, "callbacks": [Watch()]}
    model = small(n_layers=2, **params).fit(*sequences)
    assert dict(model.net_.callbacks_)["Watch"].seen_ == chunks
    assert torch.get_num_threads() == 2


def test_a_fit_takes_no_more_threads_than_it_is_given(sequences):
    recorder = Recorder(lambda net: torch.get_num_threads())
    model = small(units=40, callbacks=[recorder]).fit(*sequences)
    assert set(seen(model)) == {torch.get_num_threads()}


@pytest.mark.usefixtures("two_threads")
def test_threads_are_left_as_they_were_when_a_fit_fails(sequences):
    X, y = sequences
    with pytest.raises(ValueError, match="diverged"):
        small(lr=1e30, clip_norm=None, max_epochs=5).fit(X, y)
    assert torch.get_num_threads() == 2


@pytest.mark.bits
@pytest.mark.parametrize("units", [8, 40])
def test_threads_that_predict_at_once_get_the_bits_of_one(sequences, units):
    X, y = sequences
    model = small(units=units, dropout=0.5).fit(X, y)
    parts = [X[first : first + 37] for first in range(0, 160, 5)]
    together = joblib.Parallel(n_jobs=8, backend="threading")(
        joblib.delayed(model.predict)(part) for part in parts
    )
    for part, predictions in zip(parts, together, strict=True):
        assert np.array_equal(predictions, model.predict(part))


def test_a_fitted_module_is_not_in_training(sequences):
    model = small(dropout=0.5)
    assert not any(module.training for module in model.fit(*sequences).module_.modules())
    assert not any(module.training for module in model.partial_fit(*sequences).module_.modules())


# precision


@has_bfloat16
@pytest.mark.parametrize("params", [{}, {"bidirectional": True}, {"skip": None, "n_layers": 3}])
def test_bfloat16_learns_what_float32_learns(sequences, params):
    X, y = sequences
    params = {"units": 32, "max_epochs": 30, **params}
    single = small(**params).fit(X[:150], y[:150])
    rounded = small(**params, precision="bfloat16").fit(X[:150], y[:150])
    assert rounded.score(X[150:], y[150:]) > 0.9 * single.score(X[150:], y[150:]) > 0.7
    assert not np.array_equal(rounded.predict(X), single.predict(X))


@has_bfloat16
def test_bfloat16_keeps_weights_and_predictions_in_float32(sequences):
    X, y = sequences
    model = small(precision="bfloat16").fit(X, y)
    assert {weights.dtype for weights in model.module_.parameters()} == {torch.float32}
    same = small(precision="float32", max_epochs=0).fit(X, y)
    same.module_.load_state_dict(model.module_.state_dict())
    assert np.array_equal(model.predict(X), same.predict(X))


@has_bfloat16
def test_only_the_layers_round():
    module = StackedLSTM(2, n_layers=2, units=8, pooling="concat", autocast=torch.bfloat16)
    dtypes = {}
    for name, part in module.named_modules():
        part.register_forward_hook(
            lambda part, args, output, name=name: dtypes.update(
                {name: (output[0] if isinstance(output, tuple) else output).dtype}
            )
        )
    module(torch.zeros(4, 5, 2))
    assert dtypes["layers.0"] == dtypes["layers.1"] == torch.bfloat16
    assert dtypes["head"] == dtypes["head.0"] == dtypes[""] == torch.float32
    module.eval()(torch.zeros(4, 5, 2))
    assert set(dtypes.values()) == {torch.float32}


@has_bfloat16
def test_precision_may_change_from_fit_to_fit(sequences):
    X, y = sequences
    model = small(precision="bfloat16", warm_start=True).fit(X, y)
    before = model.predict(X)
    model.set_params(precision="float32", max_epochs=0).fit(X, y)
    assert np.array_equal(model.predict(X), before)


def test_a_device_without_bfloat16_is_an_error(sequences, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    with pytest.raises(ValueError, match="precision='bfloat16' cannot be used on device='cpu'"):
        small(precision="bfloat16").fit(*sequences)
    with pytest.raises(ValueError, match="device='meta'"):
        resolve_autocast("bfloat16", "meta")


# the norm of the gradient


@pytest.mark.parametrize("max_norm", [1e-3, 0.5, 1e6])
def test_the_gradient_is_clipped_as_torch_does_it(max_norm):
    torch.manual_seed(0)
    layer, same = nn.Linear(5, 3), nn.Linear(5, 3)
    net = type("Net", (), {"weights_in_training": lambda self: list(layer.parameters())})()
    for part, gradient in zip(
        zip(layer.parameters(), same.parameters(), strict=True),
        (torch.randn(3, 5), torch.randn(3)),
        strict=True,
    ):
        for weights in part:
            weights.grad = gradient.clone()
    ClipNorm(max_norm).on_grad_computed(net)
    nn.utils.clip_grad_norm_(same.parameters(), max_norm)
    for weights, expected in zip(layer.parameters(), same.parameters(), strict=True):
        assert torch.equal(weights.grad, expected.grad)


def test_frozen_layers_stay_as_they_are(sequences):
    X, y = sequences

    class FreezeFirst(Callback):
        def on_train_begin(self, net, **kwargs):
            net.module_.layers[0].requires_grad_(False)

    start = small(max_epochs=0).fit(X, y).module_.layers
    layers = small(callbacks=[FreezeFirst()]).fit(X, y).module_.layers
    assert torch.equal(layers[0].weight_ih_l0, start[0].weight_ih_l0)
    assert not torch.equal(layers[1].weight_ih_l0, start[1].weight_ih_l0)


# what a batch reads


def test_a_batch_reads_its_own_rows_and_no_others():
    X = np.full((100, 10, 2), np.nan)
    X[::2] = 0
    dataset = SequenceDataset(Sequences.equal(X), np.zeros(100)).part(np.arange(0, 100, 2))
    for inputs, _ in Batches(dataset, 8, shuffle=True):
        assert not inputs["x"].isnan().any()
    assert np.shares_memory(dataset.X.values, X)


def test_shuffled_batches_gather_straight_from_windows():
    table = np.random.default_rng(0).normal(size=(500, 3))
    windows = LagWindows(length=20).fit_transform(table)
    dataset = SequenceDataset(windows, np.arange(500.0))
    assert np.shares_memory(dataset.X.values, windows)
    torch.manual_seed(0)
    for inputs, y in Batches(dataset, 64, shuffle=True):
        assert np.array_equal(inputs["x"].numpy(), windows[y[:, 0].numpy().astype(int)])


# gradients


def test_inputs_have_a_gradient_through_scaling_and_outliers():
    module = StackedLSTM(2, units=4, standardize=True, dtype=torch.float64)
    module.input_scaler.mean.copy_(torch.tensor([1.0, -2.0]))
    module.input_scaler.scale.copy_(torch.tensor([0.5, 3.0]))
    x = torch.randn(3, 4, 2, dtype=torch.float64)
    x[0, 0, 0] = 40.0
    assert torch.autograd.gradcheck(module, x.requires_grad_())


def test_the_largest_numbers_have_a_prediction():
    X = 1e-6 * np.random.default_rng(0).normal(size=(100, 5, 4))
    model = small().fit(X, X[:, -1, 0])
    X[0] = 3e38
    X[0, :, 1] = -3e38
    assert np.isfinite(model.predict(X)).all()


# what "auto" comes to


@pytest.mark.parametrize(
    ("params", "n_layers"),
    [
        ({}, 2),
        ({"units": (8,)}, 1),
        ({"units": [8, 4, 4]}, 3),
        ({"units": np.array([4, 4])}, 2),
        ({"dropout": (0.1, 0.2, 0.3)}, 3),
        ({"units": (4,), "dropout": (0.1,)}, 1),
        ({"n_layers": 3}, 3),
        ({"n_layers": np.int64(1)}, 1),
    ],
)
def test_units_or_dropout_set_the_depth_where_n_layers_does_not(params, n_layers, sequences):
    model = small(max_epochs=1, **params).fit(*sequences)
    assert model.n_layers_ == len(model.module_.layers) == n_layers
    assert model.partial_fit(*sequences).n_layers_ == n_layers
    assert model.n_layers == params.get("n_layers", "auto")


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"units": ()}, r"units=\(\) has no layer"),
        ({"units": (4, 4), "dropout": (0.1,)}, r"dropout .*n_layers=2 layers, got 1"),
        ({"n_layers": 3, "units": (4, 4)}, r"units .*n_layers=3 layers, got 2"),
        ({"n_layers": "all"}, "The 'n_layers' parameter"),
    ],
)
def test_depths_that_disagree_are_named(params, message, sequences):
    with pytest.raises(ValueError, match=message):
        small(**params).fit(*sequences)


def test_a_longer_tuple_of_units_grows_a_fitted_model(sequences):
    X, y = sequences
    model = small(units=(8, 8), warm_start=True).fit(X, y)
    before = model.predict(X)
    model.set_params(units=(8, 8, 8), max_epochs=0).fit(X, y)
    assert model.n_layers_ == 3
    assert np.array_equal(model.predict(X), before)


def test_a_saved_model_keeps_the_parameter_and_the_depth(sequences, tmp_path):
    model = small(units=(8, 4, 4)).fit(*sequences)
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert (loaded.n_layers, loaded.n_layers_, loaded.units) == ("auto", 3, (8, 4, 4))
    assert clone(loaded).fit(*sequences).n_layers_ == 3
    assert loaded._plan.n_layers == 3


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_what_auto_came_to_can_be_read(method, sequences, tmp_path):
    X, y = sequences
    model = getattr(StackedLSTMRegressor(units=4, linear_steps=None), method)(X, y)
    one_epoch = method == "partial_fit"
    assert model.batch_size_ == model.net_.batch_size == 32
    assert model.lr_ == model.net_.lr == (0.01 if one_epoch else 0.03)
    assert model.max_epochs_ == (1 if one_epoch else 28)
    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model")
    assert (loaded.lr_, loaded.batch_size_) == (model.lr_, model.batch_size_)
    assert loaded.max_epochs_ == model.max_epochs_
    model = small(lr=0.02, batch_size=7, max_epochs=2).fit(X, y)
    assert (model.lr_, model.batch_size_, model.max_epochs_) == (0.02, 7, 2)


# the random state of a fit that is continued


def order_after(sequences, random_state, method="fit", before=0):
    X, y = sequences
    model = small(dropout=0.3, random_state=before, warm_start=True).fit(X, y)
    if random_state != "same":
        model.set_params(random_state=random_state)
    return getattr(model, method)(X, y).predict(X)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_another_int_changes_the_order_from_there_on(method, sequences):
    same, other = (order_after(sequences, state, method) for state in ("same", 1))
    assert not np.array_equal(same, other)
    assert np.array_equal(other, order_after(sequences, np.int64(1), method))
    assert np.array_equal(same, order_after(sequences, 0, method))


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(5)])
def test_anything_else_goes_on_with_the_first_seed(random_state, sequences):
    expected = order_after(sequences, "same")
    assert np.array_equal(order_after(sequences, random_state), expected)


def test_epochs_are_counted_over_all_fits_that_go_on(sequences):
    model = small(warm_start=True).fit(*sequences).fit(*sequences)
    assert model.n_iter_ == len(model.loss_curve_) == 6
    assert model.best_epoch_ > 3

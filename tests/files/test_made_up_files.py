"""Files that somebody made up, with a checksum that fits."""

import json

import pytest
import torch
from saved_models import setting, tampered

from sklstm import StackedLSTM, load


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("plan", "units"), 10**8, "but the model needs"),
        (("plan", "units"), 2**62, "there is no such model"),
        (("plan", "units"), 2**70, "there is no such model"),
        (("plan", "units"), "many", "units"),
        (("plan", "units"), [4, "x"], "units"),
        (("plan", "units"), [4, 10**4000], "there is no such model"),
        (("plan", "units"), {"code": "x"}, "units"),
        (("plan", "device"), "hpu", "device='hpu' cannot be used here"),
        (("plan", "device"), "cuda:99", "cannot be used here"),
        (("plan", "device"), "../x", "cannot be used here"),
        (("plan", "n_layers"), 10**12, r"n_layers=1000000000000 needs more than the \d+ tensors"),
        (("plan", "n_layers"), -1, "n_layers"),
        (("plan", "head_units"), [1] * 10**5, "Tensor 'module.head.2.weight' is missing"),
        (("plan", "linear_steps"), 10**15, "but the model needs"),
        (("plan", "linear_steps"), "auto", "linear_steps is 'auto', which no fit has"),
        (("plan", "lr"), None, "lr is None, which no fit has"),
        (("plan", "loss_params"), {"quantile": [0.1, 0.2]}, "loss_params is .* wrong for loss="),
        (("plan", "loss_params"), [], "loss_params is no mapping"),
        (("plan", "seed"), -1, "seed is -1, which no fit has"),
        (("plan", "loss"), "__import__('os')", "loss is .*, which no fit has"),
        (("plan", "optimizer"), "os.system", "optimizer is 'os.system', which no fit has"),
        (("plan", "precision"), "float16", "precision is 'float16', which no fit has"),
        (("plan", "hidden"), 1, "'hidden' is missing, or not known"),
        (("plan",), None, "cannot be read: TypeError"),
        (("parameters", "n_heads"), 1, "This sklstm does not know the parameter 'n_heads'"),
        (("parameters", "checkpoint"), "/etc/passwd", "does not know the parameter 'checkpoint'"),
        (("parameters", "callbacks"), ["x"], "callbacks must be empty: no file can hold them"),
        (("parameters", "units"), {"tuple": {}}, "is no parameter"),
        (("parameters", "random_state"), "x", "'random_state' parameter"),
        (("form", "n_features"), 10**9, "but the model needs"),
        (("form", "n_features"), "2", "n_features must be integers of at least 1, got '2'"),
        (("form", "n_outputs"), 0, "n_outputs is 0"),
        (("form", "n_outputs"), 3, "y has one target and 3"),
        (("form", "n_features_in"), -2, "n_features_in is -2"),
        (("form", "n_features_in"), True, "n_features_in is True"),
        (("form", "feature_names_in"), [1], "feature_names_in is not a list of names"),
        (("form", "X"), "pickle", "forms of X and y"),
        (("form", "y", "dtype"), "O", "forms of X and y"),
        (("form", "y", "dtype"), ["f8"], "forms of X and y"),
        (("form", "y", "has_steps"), True, "return_sequences"),
        (("form", "y", "has_outputs"), 1, "form of y"),
        (("form", "y", "container"), "set", "forms of X and y"),
        (("form", "y", "more"), 1, "forms of X and y"),
        (("form", "y"), [], "cannot be read: TypeError"),
        (("form", "y", "horizon"), "x", "horizon is 'x'"),
        (("form", "y", "horizon"), 1, "y has a horizon of 1 steps and 1 targets"),
        (("numbers", "best_epoch"), "x", "best_epoch is 'x', which no fit has"),
        (("numbers", "epochs_done"), -1, "epochs_done is -1, which no fit has"),
        (("numbers", "epochs_done"), 1e3, r"epochs_done is 1000\.0, which no fit has"),
        (("numbers", "best_loss"), "low", "best_loss is 'low', which no fit has"),
        (("numbers", "stop"), 1, "stop is 1, which no fit has"),
        (("numbers",), {}, "cannot be read: KeyError"),
        (("history",), [[]], "cannot be read: AttributeError"),
        (("history",), 3, "cannot be read: TypeError"),
        (("history", 0, "train_loss"), "eval", "history_ has train_loss='eval': no number"),
        (("history", 0, "train_loss"), None, "history_ has train_loss=None: no number"),
    ],
)
def test_metadata_that_somebody_made_up_are_refused(keys, value, message, tmp_path):
    path = tampered(tmp_path, setting(*keys, to=value))
    with pytest.raises(ValueError, match=message):
        load(path)


@pytest.mark.parametrize("horizon", [0, 4, 7])
def test_a_horizon_that_does_not_divide_the_outputs_is_refused(horizon, tmp_path):
    path = tampered(tmp_path, setting("form", "y", "horizon", to=horizon), name="horizon")
    with pytest.raises(ValueError, match=f"horizon (is|of) {horizon}"):
        load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("module.head.0.bias"), "Tensor 'module.head.0.bias' is missing"),
        (lambda t: t.update(more=torch.zeros(3)), "Tensor 'more' does not belong to the model"),
        (lambda t: t.update({"../../x": torch.zeros(3)}), r"Tensor '\.\./\.\./x' does not belong"),
        (
            lambda t: t.update({"module.head.0.bias": torch.zeros(2)}),
            r"'module.head.0.bias' is torch.float32 of shape \(2,\), but the model needs "
            r"torch.float32 of shape \(1,\)",
        ),
        (
            lambda t: t.update({"module.head.0.bias": torch.zeros(1, dtype=torch.float64)}),
            "is torch.float64 of shape",
        ),
        (
            lambda t: t.update({"optimizer.head.0.bias.exp_avg": torch.zeros(1000)}),
            r"is torch.float32 of shape \(1000,\)",
        ),
        (lambda t: t.pop("optimizer.head.0.bias.step"), "head.0.bias.step' is missing"),
        (lambda t: t.update({"optimizer.head.x.step": torch.zeros(())}), "does not belong"),
        (lambda t: t.update({"best.head.0.bias": torch.zeros(1)}), "'best.layers.* is missing"),
    ],
)
def test_tensors_that_somebody_made_up_are_refused(change, message, tmp_path):
    path = tampered(tmp_path, change_tensors=change)
    with pytest.raises(ValueError, match=message):
        load(path)


def with_more_in_header(path, more):
    """Add entries to the header of a file."""
    content = path.read_bytes()
    n_header = int.from_bytes(content[:8], "little")
    text = json.dumps(json.loads(content[8 : 8 + n_header]) | more).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + n_header :])


def test_names_without_tensors_are_refused(tmp_path):
    path = tampered(tmp_path, setting("plan", "n_layers", to=20_000))
    with_more_in_header(path, {str(i): 0 for i in range(80_000)})
    with pytest.raises(ValueError, match="cannot be read: SafetensorError"):
        load(path)


NO_ENTRY = {"dtype": 0, "shape": 0, "data_offsets": 0}
OTHER_SIZE = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


def deep(metadata):
    metadata["plan"] |= {"n_layers": 1000, "units": [1, 2] * 500, "bidirectional": True}


@pytest.mark.parametrize("entry", [NO_ENTRY, OTHER_SIZE])
@pytest.mark.parametrize("n_names", [4, 8])
def test_thousands_of_layers_that_are_no_tensors_are_refused_before_any_is_made(
    entry, n_names, tmp_path, monkeypatch
):
    path = tampered(tmp_path, deep)
    with_more_in_header(path, {f"module.layers.{i}.": entry for i in range(n_names * 1000)})
    monkeypatch.setattr(StackedLSTM, "__init__", lambda *args, **kwargs: pytest.fail("made"))
    with pytest.raises(ValueError, match="cannot be read: SafetensorError"):
        load(path)


@pytest.mark.parametrize(("n_names", "message"), [(500, "needs more than"), (8000, "is missing")])
def test_thousands_of_layers_that_are_not_there_are_refused_before_any_is_made(
    n_names, message, tmp_path, monkeypatch
):
    def add_others(tensors):
        tensors |= {f"module.layers.{i}.": torch.zeros(0) for i in range(n_names)}

    path = tampered(tmp_path, deep, add_others)
    monkeypatch.setattr(StackedLSTM, "__init__", lambda *args, **kwargs: pytest.fail("made"))
    with pytest.raises(ValueError, match=message):
        load(path)

"""Files of earlier and later versions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from saved_models import X, Y, fitted, same, saved_and_loaded, tampered

from sklstm import StackedLSTMRegressor, load
from sklstm.files import container as storage
from sklstm.files import versions as formats
from sklstm.training.state import NUMBERS

DATA = Path(__file__).parents[1] / "stored"


def stored(name):
    content = np.load(DATA / f"{name}.npz")
    return content["X"], content["y"], load(DATA / f"{name}.safetensors")


def with_names(inputs, model):
    names = getattr(model, "feature_names_in_", None)
    return inputs if names is None else pd.DataFrame(inputs, columns=names)


STORED = sorted(path.stem for path in DATA.glob("model-*.safetensors"))


@pytest.mark.parametrize("name", STORED)
def test_a_stored_model_predicts_what_it_did_when_it_was_saved(name):
    inputs, outputs, model = stored(name)
    # Processors round differently: float32 has seven digits.
    np.testing.assert_allclose(model.predict(with_names(inputs, model)), outputs, 1e-6, 1e-6)


@pytest.mark.parametrize("name", STORED)
def test_a_stored_model_is_saved_again_and_trains_on(name, tmp_path):
    inputs, outputs, model = stored(name)
    inputs, targets = with_names(inputs, model), outputs.reshape(len(outputs), -1)[:, 0]
    again = saved_and_loaded(model, tmp_path)
    assert same(again.predict(inputs), model.predict(inputs))
    for estimator in (model, again):
        estimator.partial_fit(inputs, targets)
    assert same(again.predict(inputs), model.predict(inputs))


@pytest.mark.parametrize("name", STORED)
def test_a_file_of_0_1_0_has_every_name_that_came_later(name):
    metadata, tensors = formats.upgraded(*storage.read(DATA / f"{name}.safetensors", "model"))
    now = StackedLSTMRegressor(max_epochs=0).fit(X, Y)
    assert set(metadata["parameters"]) == set(now.get_params()) - {"checkpoint"}
    assert set(metadata["plan"]) == set(now._plan.to_dict())
    assert set(metadata["numbers"]) == set(NUMBERS)
    assert [row["epoch"] for row in metadata["history"]] == [1, 2, 3, 4, 5, 6]
    assert all(type(row["train_loss_best"]) is bool for row in metadata["history"])
    assert {place.partition(".")[0] for place in tensors} == {"module", "optimizer"}


def test_a_model_of_0_1_0_has_its_history_and_best_epoch():
    model = stored("model-0.1.0-quantiles")[2]
    assert model.best_epoch_ == 6
    assert model.n_iter_ == len(model.validation_loss_curve_) == 6
    assert model.quantile == (0.1, 0.5, 0.9)
    assert model.skip == "residual"


def test_skip_connections_of_0_1_0_have_their_name_of_today():
    metadata, tensors = of_version_1()
    tensors["module.paths.0.projection.weight"] = torch.ones(2, 3)
    tensors["optimizer.paths.0.projection.weight.exp_avg"] = torch.zeros(2, 3)
    _, upgraded = formats.upgraded("1", metadata, tensors)
    assert torch.equal(upgraded["module.skips.0.projection.weight"], torch.ones(2, 3))
    assert "optimizer.skips.0.projection.weight.exp_avg" in upgraded


def of_version_1():
    """Return metadata and tensors as sklstm 0.1.0 wrote them."""
    return storage.read(DATA / "model-0.1.0-defaults.safetensors", "model")[1:]


@pytest.mark.parametrize(
    "change",
    [
        lambda metadata, tensors: metadata.pop("recipe"),
        lambda metadata, tensors: metadata.update(parameters=[]),
        lambda metadata, tensors: metadata["recipe"].update(units={"tuple": {}}),
        lambda metadata, tensors: metadata["state"].update(columns=[["dur", "eval"]] * 6),
        lambda metadata, tensors: metadata["state"].update(columns=[["dur", ["float"]]] * 6),
        lambda metadata, tensors: metadata["state"].update(columns=[]),
        lambda metadata, tensors: metadata["form"].update(y=[]),
        lambda metadata, tensors: metadata.update(best_epoch="x"),
        lambda metadata, tensors: tensors.pop("history.present"),
        lambda metadata, tensors: tensors.update({"history.values": torch.zeros(3)}),
        lambda metadata, tensors: tensors["history.values"].fill_(torch.nan),
    ],
    ids=range(11),
)
def test_a_made_up_file_of_version_1_is_refused(change, tmp_path, monkeypatch):
    metadata, tensors = of_version_1()
    path = tmp_path / "model"
    monkeypatch.setattr(storage, "FORMAT_VERSION", "1")
    monkeypatch.setattr(storage, "METADATA_KEY", "facts")
    storage.write(path, "model", metadata, tensors)
    load(path)
    change(metadata, tensors)
    storage.write(path, "model", metadata, tensors)
    with pytest.raises(ValueError, match="model' cannot be read"):
        load(path)


def test_a_file_is_upgraded_through_each_version_after_its_own(tmp_path, monkeypatch):
    def with_weight_decay(value):
        def upgrade(metadata, tensors):
            metadata["parameters"]["weight_decay"] = value
            metadata["plan"]["weight_decay"] = 2 * value
            return metadata, tensors

        return upgrade

    def forget(metadata):
        del metadata["parameters"]["weight_decay"], metadata["plan"]["weight_decay"]

    monkeypatch.setattr(formats, "VERSIONS", ("2", "3", "4"))
    monkeypatch.setattr(storage, "VERSIONS", ("2", "3", "4"))
    upgrades = {"2": with_weight_decay(0.25), "3": with_weight_decay(0.5)}
    monkeypatch.setattr(formats, "UPGRADES", upgrades)
    for version, expected in (("2", 0.5), ("3", 0.5), ("4", "auto")):
        with monkeypatch.context() as patched:
            patched.setattr(storage, "FORMAT_VERSION", version)
            path = tampered(tmp_path, None if version == "4" else forget)
        loaded = load(path)
        assert loaded.weight_decay == expected
        assert loaded._plan.weight_decay == (0.08 if version == "4" else 1.0)
        assert same(loaded.predict(X), fitted()[0].predict(X))


def test_a_file_without_a_parameter_is_refused(tmp_path):
    with pytest.raises(ValueError, match="The parameter 'weight_decay' is missing"):
        load(tampered(tmp_path, lambda metadata: metadata["parameters"].pop("weight_decay")))
    with pytest.raises(ValueError, match="'weight_decay' is missing, or not known"):
        load(tampered(tmp_path, lambda metadata: metadata["plan"].pop("weight_decay")))


def test_a_parameter_of_a_later_version_is_refused_with_that_version(tmp_path):
    def change(metadata):
        metadata["parameters"]["n_heads"] = metadata["plan"]["n_heads"] = 2
        metadata["versions"]["sklstm"] = "0.9.0"

    with pytest.raises(ValueError, match=r"'n_heads'\. It was written by sklstm 0\.9\.0, this is"):
        load(tampered(tmp_path, change))

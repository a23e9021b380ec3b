import errno
import re
import shutil
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from skorch.callbacks import EpochTimer

from sklstm import DepthSearchCV, StackedLSTMRegressor, __version__
from sklstm.files import container as storage
from sklstm.training import checkpoint as checkpoints
from sklstm.training.batches import SequenceDataset
from sklstm.training.callbacks import BestEpoch

X = np.random.default_rng(0).normal(size=(60, 6, 2))
Y = X[:, -2:, 0].sum(axis=1)
SMALL = {"units": 4, "max_epochs": 6, "batch_size": 16, "linear_steps": 2, "random_state": 0}

FITS = {
    "defaults": {},
    "trial fit": {"linear_steps": "auto"},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 5, "lr": 0.05, "max_epochs": 20},
    "dropout": {"dropout": 0.3},
    "constant rate": {"lr_schedule": "constant"},
    "sgd": {"optimizer": "sgd"},
    "rmsprop": {"optimizer": "rmsprop"},
    "double": {"precision": "float64"},
    "no clipping": {"clip_norm": None},
    "quantiles": {"loss": "quantile", "quantile": [0.2, 0.8]},
    "deep": {"n_layers": 9, "units": 2},
    "both directions": {"bidirectional": True},
    "one step an epoch": {"batch_size": 100},
    "numpy numbers": {"lr": np.float32(0.013), "max_epochs": np.int8(6)},
}


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "fit.ckpt"


@pytest.fixture
def killed_after(monkeypatch):
    """Have a fit end right after so many states have been written."""

    def kill(n_written):
        left = [n_written]

        def write(*args):
            written = storage.write(*args)
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return written

        monkeypatch.setattr(checkpoints, "write", write)

    return kill


def model(path=None, **parameters):
    return StackedLSTMRegressor(**{**SMALL, **parameters}, checkpoint=path)


def rows(fitted):
    return [
        {name: value for name, value in row.items() if name not in ("batches", "dur")}
        for row in fitted.history_
    ]


def assert_same_bits(a, b):
    for values, others in zip(
        a.module_.state_dict().values(), b.module_.state_dict().values(), strict=True
    ):
        assert torch.equal(values, others)
    assert rows(a) == rows(b)
    assert a.best_epoch_ == b.best_epoch_


@pytest.mark.bits
@pytest.mark.parametrize("name", FITS)
def test_a_fit_killed_after_any_epoch_ends_with_the_same_bits(name, path, killed_after):
    undisturbed = model(**FITS[name]).fit(X, Y)
    resumed = model(path, **FITS[name])
    for n_written in (1, 2, 1):
        killed_after(n_written)
        with pytest.raises(Killed):
            resumed.fit(X, Y)
        assert not hasattr(resumed, "net_")
    killed_after(-1)
    assert_same_bits(resumed.fit(X, Y), undisturbed)


@pytest.mark.bits
def test_a_fit_killed_on_two_threads_is_resumed_on_one_with_the_same_bits(path, killed_after):
    wide = {"units": 40, "batch_size": 64, "dropout": 0.2}
    undisturbed, before = model(**wide).fit(X, Y), torch.get_num_threads()
    torch.set_num_threads(2)
    killed_after(2)
    with pytest.raises(Killed):
        model(path, **wide).fit(X, Y)
    torch.set_num_threads(before)
    killed_after(-1)
    assert_same_bits(model(path, **wide).fit(X, Y), undisturbed)


def test_a_checkpoint_changes_no_bit(path):
    assert_same_bits(model(path).fit(X, Y), model().fit(X, Y))


@pytest.mark.bits
def test_a_killed_fit_that_grows_ends_with_the_same_bits(tmp_path, killed_after):
    def grown(small, large):
        fitted = model(small, dropout=0.2).fit(X, Y)
        return fitted.set_params(n_layers=4, warm_start=True, checkpoint=large).fit(X, Y)

    undisturbed, paths = grown(None, None), (tmp_path / "small", tmp_path / "large")
    for n_written in (3, 8):
        killed_after(n_written)
        with pytest.raises(Killed):
            grown(*paths)
    killed_after(-1)
    assert_same_bits(grown(*paths), undisturbed)


def test_a_killed_fit_without_a_seed_is_resumed_with_the_one_it_drew(path, killed_after):
    killed_after(3)
    with pytest.raises(Killed):
        model(path, random_state=None).fit(X, Y)
    killed_after(-1)
    resumed = model(path, random_state=None).fit(X, Y)
    assert resumed.n_iter_ == 6
    again = model(random_state=None, max_epochs=6)
    again.fit(X, Y)
    assert_same_bits(model(path, random_state=None).fit(X, Y), resumed)


def test_a_resumed_fit_warns_like_one_that_was_not_killed(path, killed_after):
    settings = {
        "max_epochs": 10,
        "early_stopping": True,
        "validation_fraction": 0.5,
        "lr": 0.03,
        "linear_steps": None,
    }
    with pytest.warns(ConvergenceWarning, match="still falling") as undisturbed:
        model(**settings).fit(X, Y)
    killed_after(4)
    with pytest.raises(Killed):
        model(path, **settings).fit(X, Y)
    killed_after(-1)
    with pytest.warns(ConvergenceWarning) as resumed:
        model(path, **settings).fit(X, Y)
    assert [str(w.message) for w in resumed] == [str(w.message) for w in undisturbed]


def test_the_progress_bar_counts_the_epochs_that_are_done(path, killed_after, capfd):
    killed_after(4)
    with pytest.raises(Killed):
        model(path).fit(X, Y)
    killed_after(-1)
    model(path, verbose=1).fit(X, Y)
    assert "4/6" in capfd.readouterr().err


def test_an_interrupted_fit_can_be_ended_later(path, monkeypatch):
    def interrupt(_, net, **__):
        if len(net.history) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(checkpoints.KeepState, "on_epoch_begin", interrupt)
        with pytest.warns(UserWarning, match="interrupted in epoch 3"):
            interrupted = model(path).fit(X, Y)
    assert interrupted.n_iter_ == 2
    assert_same_bits(model(path).fit(X, Y), model().fit(X, Y))


def test_a_fit_that_is_done_is_there_at_once(path, monkeypatch):
    done = model(path).fit(X, Y)
    monkeypatch.setattr(done.net_.__class__, "train_step", None)
    assert_same_bits(model(path).fit(X, Y), done)


def test_ragged_sequences_with_labels_at_each_step_and_weights_are_resumed(path, killed_after):
    rng = np.random.default_rng(0)
    sequences = [rng.normal(size=(length, 2)) for length in rng.integers(3, 9, 60)]
    labels = [sequence[:, 0].cumsum() for sequence in sequences]
    weight = rng.uniform(size=60)
    undisturbed = model(return_sequences=True).fit(sequences, labels, weight)
    killed_after(4)
    with pytest.raises(Killed):
        model(path, return_sequences=True).fit(sequences, labels, weight)
    killed_after(-1)
    assert_same_bits(model(path, return_sequences=True).fit(sequences, labels, weight), undisturbed)
    with pytest.raises(ValueError, match="of a fit to other data"):
        model(path, return_sequences=True).fit(sequences, labels)


@pytest.mark.skipif(not hasattr(sys.modules["os"], "fork"), reason="starts processes by fork")
def test_processes_killed_at_random_moments_end_with_the_same_bits(tmp_path):
    script = Path(__file__).with_name("killed_fits.py")
    command = [sys.executable, "-W", "error", str(script), str(tmp_path), "0", "6"]
    n_killed, *state = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.split()
    assert n_killed == "6"
    assert state == ["True", "three.ckpt", "two.ckpt"]


# Checkpoints of something else


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"n_layers": 3}, "is of a fit with n_layers='auto', not 3"),
        ({"dropout": 0.5}, r"is of a fit with dropout=0\.0, not 0\.5"),
        ({"max_epochs": 7}, "is of a fit with max_epochs=6, not 7"),
        ({"loss": "huber"}, "is of a fit with loss='squared_error', not 'huber'"),
        (
            {"units": 3, "lr": 0.5},
            r"is of a fit with lr='auto', not 0\.5; with units=4, not 3",
        ),
        ({"random_state": 1}, "another random_state"),
        ({"random_state": None}, "another random_state"),
    ],
)
def test_a_checkpoint_of_other_parameters_is_refused(other, message, path):
    model(path).fit(X, Y)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"checkpoint: .*{message}.* Delete it"):
        model(path, **other).fit(X, Y)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("inputs", "targets", "weight"),
    [
        (X[:-1], Y[:-1], None),
        (X[::-1].copy(), Y, None),
        (X.astype(np.float32), Y, None),
        (X, Y + 1e-9, None),
        (X, Y, np.arange(1, 61)),
    ],
)
def test_a_checkpoint_of_other_data_is_refused(inputs, targets, weight, path):
    model(path).fit(X, Y)
    with pytest.raises(ValueError, match=r"checkpoint: .* is of a fit to other data"):
        model(path).fit(inputs, targets, sample_weight=weight)


def test_a_checkpoint_of_the_same_steps_in_other_sequences_is_refused(path):
    steps = np.random.default_rng(0).normal(size=(60, 2))
    model(path).fit(np.split(steps, [10, 30]), [0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="of a fit to other data"):
        model(path).fit(np.split(steps, [20, 30]), [0.0, 1.0, 2.0])


def test_a_checkpoint_of_other_versions_is_refused(path, monkeypatch):
    model(path).fit(X, Y)
    newer = {**checkpoints.library_versions(), "torch": "99.0"}
    monkeypatch.setattr(checkpoints, "library_versions", lambda: newer)
    with pytest.raises(ValueError, match=r"with torch='.*', not '99\.0'"):
        model(path).fit(X, Y)


def test_a_checkpoint_of_0_1_0_is_refused_with_both_versions(path):
    shutil.copy(Path(__file__).parents[1] / "stored" / "fit-0.1.0.checkpoint", path)
    with pytest.raises(
        ValueError,
        match=rf"a fit with sklstm='0\.1\.0', not '{re.escape(__version__)}'.* Delete it",
    ):
        model(path).fit(X, Y)


def test_a_checkpoint_of_a_later_format_names_who_wrote_it(path, monkeypatch):
    later = {**checkpoints.library_versions(), "sklstm": "99.0"}
    with monkeypatch.context() as patched:
        patched.setattr(storage, "FORMAT_VERSION", "99")
        patched.setattr(checkpoints, "library_versions", lambda: later)
        model(path).fit(X, Y)
    with pytest.raises(ValueError, match=r"written by sklstm 99\.0, this is .*: upgrade it"):
        model(path).fit(X, Y)


@pytest.mark.parametrize("device", ["cpu:0", torch.device("cpu"), torch.device("cpu", 0)])
def test_a_fit_is_resumed_whichever_way_its_device_is_written(device, path, killed_after):
    undisturbed = model().fit(X, Y)
    killed_after(3)
    with pytest.raises(Killed):
        model(path, device=device).fit(X, Y)
    killed_after(-1)
    assert_same_bits(model(path).fit(X, Y), undisturbed)
    assert_same_bits(model(path, device=device).fit(X, Y), undisturbed)


@pytest.mark.parametrize(
    "odd",
    [
        {"linear_steps": True},
        {"max_epochs": True, "n_iter_no_change": True},
        {"callbacks": ()},
        {"units": range(4, 6), "dropout": np.array([0.1, 0.2]), "head_units": np.array([3])},
        {"lr": np.array([0.01])[0], "weight_decay": np.float16(0.001), "clip_norm": 1},
        {"early_stopping": np.True_, "validation_fraction": np.longdouble(0.2)},
    ],
)
def test_a_fit_with_any_form_of_a_parameter_is_resumed(odd, path):
    first = model(path, **odd).fit(X, Y)
    assert_same_bits(model(path, **odd).fit(X, Y), first)


def test_a_checkpoint_that_continued_from_other_weights_is_refused(path):
    first, other = model().fit(X, Y), model().fit(X, -Y)
    first.set_params(warm_start=True, checkpoint=path).fit(X, Y)
    with pytest.raises(ValueError, match="did not continue from these weights"):
        other.set_params(warm_start=True, checkpoint=path).fit(X, Y)
    with pytest.raises(ValueError, match="did not continue from these weights"):
        first.fit(X, Y)


def test_a_damaged_checkpoint_is_refused_and_stays(path):
    model(path).fit(X, Y)
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"checkpoint: .*fit\.ckpt' cannot be read: The file is damaged"
    ):
        model(path).fit(X, Y)
    assert path.read_bytes() == content


def test_a_file_that_is_something_else_is_refused_and_stays(path):
    path.write_text("my thesis")
    with pytest.raises(ValueError, match="checkpoint: "):
        model(path).fit(X, Y)
    assert path.read_text() == "my thesis"


def test_a_saved_model_is_no_checkpoint(path):
    from sklstm import save

    save(model().fit(X, Y), path)
    with pytest.raises(ValueError, match="The file is a 'model', not a 'checkpoint'"):
        model(path).fit(X, Y)


# Deep stacks


def test_a_checkpoint_holds_hundreds_of_layers_in_both_directions(path):
    deep = {"n_layers": 400, "units": 1, "bidirectional": True, "max_epochs": 1}
    first = model(path, **deep).fit(X[:4, :1], Y[:4])
    header = int.from_bytes(path.read_bytes()[:8], "little")
    assert header > 2**20
    assert_same_bits(model(path, **deep).fit(X[:4, :1], Y[:4]), first)


def test_a_stack_of_more_layers_than_a_checkpoint_holds_is_refused_before_training(
    path, monkeypatch
):
    monkeypatch.setattr(storage, "MOST_HEADER", 20_000)
    model(path).fit(X, Y)
    n_bytes = int.from_bytes(path.read_bytes()[:8], "little")
    path.unlink()
    monkeypatch.setattr(storage, "MOST_HEADER", n_bytes)
    monkeypatch.setattr(BestEpoch, "on_epoch_begin", None)
    estimator = model(path, n_layers=4)
    with pytest.raises(ValueError, match=r"fit\.ckpt' is not written: .*Use fewer layers"):
        estimator.fit(X, Y)
    assert not path.exists()
    assert not hasattr(estimator, "net_")


# What no checkpoint holds


@pytest.mark.parametrize(
    ("parameter", "value"),
    [("callbacks", [EpochTimer()]), ("optimizer", torch.optim.NAdam), ("checkpoint", 3)],
)
def test_what_no_checkpoint_holds_is_refused_by_name(parameter, value, path):
    with pytest.raises(ValueError, match=parameter):
        model(path).set_params(**{parameter: value}).fit(X, Y)
    assert not path.exists()


def test_partial_fit_writes_no_checkpoint(path):
    model(path).partial_fit(X, Y)
    assert not path.exists()


def test_partial_fit_of_the_net_of_a_fit_leaves_the_checkpoint_of_the_fit(path):
    one = {"max_epochs": 1, "lr": 0.01, "lr_schedule": "constant"}
    fitted = model(path, **one).fit(X, Y)
    content = path.read_bytes()
    fitted.net_.partial_fit(SequenceDataset(X, Y))
    fitted.partial_fit(X, Y)
    assert path.read_bytes() == content


def test_a_search_over_depths_refuses_a_checkpoint(path):
    with pytest.raises(ValueError, match=r"checkpoint=.* would all write to one file"):
        DepthSearchCV(model(path), depths=(1, 2), cv=2).fit(X, Y)


def test_a_clone_has_the_path(path):
    assert clone(model(path)).checkpoint == path


# Disks


def test_a_folder_that_is_not_there_is_named_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr(StackedLSTMRegressor, "_copied_callbacks", None)
    estimator = model(tmp_path / "no" / "fit.ckpt")
    with pytest.raises(FileNotFoundError, match=r"no/fit\.ckpt"):
        estimator.fit(X, Y)
    assert not hasattr(estimator, "net_")


def test_a_disk_that_fills_up_does_not_end_the_fit(path, monkeypatch):
    n_flushed = [0]

    def fill(_):
        n_flushed[0] += 1
        if n_flushed[0] > 8:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", fill)
    with pytest.warns(RuntimeWarning, match=r"without a checkpoint of epoch \d: .*No space left"):
        fitted = model(path).fit(X, Y)
    monkeypatch.undo()
    assert_same_bits(fitted, model().fit(X, Y))
    assert list(path.parent.iterdir()) == [path]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same_bits(model(path).fit(X, Y), fitted)


def test_a_fit_that_diverges_at_once_leaves_no_checkpoint(path):
    with pytest.raises(ValueError, match="diverged in epoch 1"):
        model(path, lr=1e30, lr_schedule="constant", optimizer="sgd").fit(X, Y)
    assert not path.exists()


def test_another_fit_that_writes_to_the_same_path_is_noticed(path, monkeypatch):
    on_epoch_end = BestEpoch.on_epoch_end

    def interfere(self, net, **kwargs):
        on_epoch_end(self, net, **kwargs)
        if len(net.history) == 2:
            path.with_name("other").write_text("of another fit")
            path.with_name("other").replace(path)

    monkeypatch.setattr(BestEpoch, "on_epoch_end", interfere)
    with pytest.warns(RuntimeWarning, match="another fit writes to"):
        fitted = model(path).fit(X, Y)
    assert path.read_text() == "of another fit"
    assert_same_bits(fitted, model().fit(X, Y))


def test_fits_in_several_threads_do_not_overwrite_each_other(path):
    with ThreadPoolExecutor(2) as pool, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fits = [pool.submit(model(path).fit, X, sign * Y) for sign in (1, -1)]
        fitted = [fit.result() for fit in fits if fit.exception() is None]
    refused = [str(fit.exception()) for fit in fits if fit.exception() is not None]
    noticed = [warning for warning in caught if "another fit writes" in str(warning.message)]
    assert len(fitted) == 2 or "other data" in refused[0]
    assert len(fitted) == 1 or noticed


def test_a_checkpoint_that_is_deleted_is_written_again(path, monkeypatch):
    monkeypatch.setattr(checkpoints, "write", lambda *args: (storage.write(*args), path.unlink()))
    model(path).fit(X, Y)
    assert not path.exists()


def test_a_fit_keeps_to_its_path_when_the_folder_changes(tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)

    def write(*args):
        written = storage.write(*args)
        monkeypatch.chdir(elsewhere)
        return written

    monkeypatch.setattr(checkpoints, "write", write)
    model("fit.ckpt").fit(X, Y)
    assert list(elsewhere.iterdir()) == []
    monkeypatch.chdir(tmp_path)
    assert_same_bits(model("fit.ckpt").fit(X, Y), model().fit(X, Y))


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(OSError, match="Not a regular file"):
        model(tmp_path).fit(X, Y)


def test_what_a_killed_process_left_beside_the_file_is_removed(path):
    (path.parent / f".{path.name}.1234abcd.part").write_text("half")
    (path.parent / f".{path.name}.mine.part").write_text("not of a process")
    (path.parent / ".other.1234abcd.part").write_text("not mine")
    model(path).fit(X, Y)
    others = {f".{path.name}.mine.part", ".other.1234abcd.part"}
    assert {file.name for file in path.parent.iterdir()} == {path.name, *others}

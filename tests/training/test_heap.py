"""Memory: what a fit keeps from batch to batch, and what it never loads."""

import os
import platform
import resource
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from sklstm import LagWindows, StackedLSTMRegressor
from sklstm.training import heap

PAGES = 40 * 2**20 // resource.getpagesize()
TUNING = {*heap.TUNED, "GLIBC_TUNABLES"}
glibc_only = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="mallopt and malloc_trim are glibc's"
)


@pytest.fixture
def untuned(monkeypatch):
    monkeypatch.setattr(heap, "_environment_at_start", dict)
    heap._tunable_libc.cache_clear()
    yield
    heap._tunable_libc.cache_clear()


def small(**params):
    return StackedLSTMRegressor(
        **{"units": 4, "linear_steps": None, "max_epochs": 1, "random_state": 0, **params}
    )


def page_faults(n_times):
    """Page faults of a process that takes 40 MiB, writes to them and gives them back."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n_times):
        b"x" * (40 * 2**20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])


def take_memory_inside_and_outside():
    """Keep memory once; for a process of its own, as other tests may leave malloc otherwise."""
    assert page_faults(10) > 9 * PAGES
    before = resident()
    with heap.heap_kept():
        with heap.heap_kept():
            page_faults(1)
        assert page_faults(10) < PAGES
        assert resident() > before + PAGES / 2
    assert resident() < before + PAGES / 2
    assert page_faults(10) > 9 * PAGES


def in_a_process_of_its_own(function, **environment):
    """Call a function of this file in a process that is started with some variables of malloc."""
    untuned = {name: value for name, value in os.environ.items() if name not in TUNING}
    code = f"import test_heap; test_heap.{function.__name__}()"
    command = [sys.executable, "-c", code]
    subprocess.run(command, env={**untuned, **environment}, cwd=Path(__file__).parent, check=True)


@glibc_only
def test_memory_is_taken_from_the_system_once_and_handed_back_at_the_end():
    in_a_process_of_its_own(take_memory_inside_and_outside)


def take_memory_as_ever():
    with heap.heap_kept():
        page_faults(1)
        assert page_faults(10) > 9 * PAGES


@glibc_only
@pytest.mark.parametrize(
    ("name", "value"),
    [("MALLOC_TRIM_THRESHOLD_", "1000"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=1000")],
)
def test_what_the_user_has_tuned_is_left_alone(name, value):
    in_a_process_of_its_own(take_memory_as_ever, **{name: value})


def take_memory_with_a_variable_for_later_processes():
    os.environ["MALLOC_TRIM_THRESHOLD_"] = "65536"  # as Dask does where it starts workers
    take_memory_inside_and_outside()


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc")
def test_a_variable_that_was_set_after_the_start_tunes_nothing():
    in_a_process_of_its_own(take_memory_with_a_variable_for_later_processes)


def test_without_proc_the_environment_of_now_counts(monkeypatch):
    def unreadable(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_bytes", unreadable)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "65536")
    assert heap._environment_at_start()["MALLOC_TRIM_THRESHOLD_"] == "65536"


class OldLibc:
    """A glibc that refuses a threshold of more than 32 MiB."""

    def __init__(self):
        self.accepted = {}

    def mallopt(self, name, value):
        if name == heap.M_MMAP_THRESHOLD and value > 2**25:
            return 0
        self.accepted.setdefault(name, value)
        return 1

    def malloc_trim(self, pad):
        return 1


def test_an_older_glibc_keeps_what_it_can(monkeypatch):
    libc = OldLibc()
    monkeypatch.setattr(heap, "_tunable_libc", lambda: libc)
    with heap.heap_kept():
        assert libc.accepted == {heap.M_MMAP_THRESHOLD: 2**25, heap.M_TRIM_THRESHOLD: 2**30}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_forked_in_the_middle_begins_afresh():
    with heap.heap_kept():
        child = os.fork()
        if not child:
            os._exit(heap._n_inside)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.usefixtures("untuned")
def test_another_malloc_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    with heap.heap_kept():
        assert heap._tunable_libc() is None


# larger than memory


def allocated(function):
    """Return the result of a function, and the bytes that numpy had at its peak."""
    function()
    tracemalloc.start()
    result = function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result, peak


@pytest.fixture
def on_disk(tmp_path):
    """Make a memory map of 32 MB: 10,000 windows of 100 steps and 8 features."""
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", "float32", (10_000, 100, 8))
    X[:] = np.random.default_rng(0).standard_normal((100, 8), "float32")
    X[:, -1, 0] = np.linspace(-1, 1, len(X))
    X.flush()
    return np.load(tmp_path / "X.npy", mmap_mode="r"), np.linspace(-1, 1, len(X))


@pytest.mark.parametrize("params", [{}, {"linear_steps": 2}, {"early_stopping": True}])
def test_a_memory_map_is_fitted_and_predicted_without_loading_it(on_disk, params):
    X, y = on_disk
    params = {"batch_size": 200, **params}
    model, peak = allocated(lambda: small(**params).fit(X, y))
    assert peak < X.nbytes * 0.4
    predictions, peak = allocated(lambda: model.predict(X))
    assert peak < X.nbytes / 4
    assert np.array_equal(predictions, small(**params).fit(np.array(X), y).predict(np.array(X)))


def test_a_memory_map_of_rows_is_fitted_without_loading_it(on_disk):
    X, y = on_disk
    rows = X.reshape(len(X), -1)
    model, peak = allocated(lambda: small(n_timesteps=100, batch_size=200).fit(rows, y))
    assert peak < X.nbytes * 0.4
    assert np.array_equal(model.predict(rows[:100]), model.predict(np.array(rows[:100])))


@pytest.mark.filterwarnings("ignore:.* standard deviations from the mean")  # chunks of a walk
def test_chunks_of_a_memory_map_train_as_chunks_in_memory(on_disk):
    X, y = on_disk
    models = [small(batch_size=200), small(batch_size=200)]
    for start in range(0, 1000, 250):
        chunk = slice(start, start + 250)
        models[0].partial_fit(X[chunk], y[chunk])
        models[1].partial_fit(np.array(X[chunk]), y[chunk])
    assert np.array_equal(*(model.predict(X[:100]) for model in models))


def test_windows_of_a_table_on_disk_take_a_copy_of_the_table_and_no_more(tmp_path):
    table = np.random.default_rng(0).standard_normal((100_000, 4))
    np.save(tmp_path / "table.npy", table)
    on_disk = np.load(tmp_path / "table.npy", mmap_mode="r")
    model = make_pipeline(LagWindows(48), small(batch_size=1000))
    _, peak = allocated(lambda: model.fit(on_disk, table[:, 0]))
    assert peak < 4.5 * table.nbytes < 48 * table.nbytes / 10
    assert np.array_equal(model.predict(on_disk), model.predict(table))


def resident_file():
    """Bytes of mapped files that are in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))


@pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc")
def test_pages_that_were_read_go_back_to_the_system(on_disk):
    X, y = on_disk
    before = resident_file()
    X.sum()
    assert resident_file() > before + 0.9 * X.nbytes
    small(batch_size=200).fit(X, y).predict(X)
    assert resident_file() < before + 0.1 * X.nbytes


@pytest.mark.parametrize("mode", ["c", "r+"])
def test_what_was_written_to_a_memory_map_is_still_there_after_a_fit(tmp_path, mode):
    np.save(tmp_path / "X.npy", np.random.default_rng(0).standard_normal((300, 10, 2)))
    X = np.load(tmp_path / "X.npy", mmap_mode=mode)
    X[::2] = 7.0
    expected = np.array(X)
    model = small().fit(X[:, 1:], np.arange(300.0))
    model.predict(X)
    assert np.array_equal(X, expected)
    on_disk = np.load(tmp_path / "X.npy")
    assert np.array_equal(on_disk, expected) == (mode == "r+")


def test_locked_pages_are_no_error(on_disk, monkeypatch):
    class Locked:
        def madvise(self, advice):
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr("sklstm.data.sequences._pages", lambda values: Locked())
    X, y = on_disk
    small(batch_size=200).fit(X[:1000], y[:1000]).predict(X[:1000])

import os
import signal
from itertools import chain

import dask
import dask.array as da
import joblib
import numpy as np
import pytest
from dask.distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from skorch.callbacks import Callback

from sklstm import DepthSearchCV, LagWindows, StackedLSTMRegressor

RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(240, 3))
Y = TABLE[:, 0] + np.roll(TABLE[:, 1], 2)
X = LagWindows(5).fit_transform(TABLE)


def small(**params):
    return StackedLSTMRegressor(**{"units": 4, "max_epochs": 3, "random_state": 0, **params})


def grid_search(model, **params):
    return GridSearchCV(model, {"n_layers": [1, 2], "units": [3, 4]}, **params)


def depth_search(model, **params):
    return DepthSearchCV(model, (1, 2, 3), **params)


either_search = pytest.mark.parametrize("search", [grid_search, depth_search])


def split_scores(search):
    return np.stack([search.cv_results_[f"split{i}_test_score"] for i in range(search.n_splits_)])


@pytest.fixture(scope="module")
def client():
    """Two worker processes that keep their copies of what they were sent."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster.scheduler_address) as client,
    ):
        client.amm.stop()
        yield client


# searches


@pytest.mark.usefixtures("client")
@either_search
def test_a_search_scores_and_predicts_the_same_on_a_cluster(search):
    serial = search(small(), cv=3).fit(X, Y)
    with joblib.parallel_config(backend="dask"):
        parallel = search(small(), cv=3).fit(X, Y)
    np.testing.assert_array_equal(split_scores(parallel), split_scores(serial))
    np.testing.assert_array_equal(parallel.predict(X), serial.predict(X))


@pytest.mark.usefixtures("client")
def test_a_pipeline_is_searched_on_a_cluster_with_its_windows():
    pipeline = make_pipeline(LagWindows(), small())
    grid = {"lagwindows__length": [3, 5], "stackedlstmregressor__n_layers": [1, 2]}
    searches = [
        GridSearchCV(pipeline, grid, cv=2),
        DepthSearchCV(pipeline, (1, 2), cv=2),
    ]
    for search in searches:
        expected = split_scores(search.fit(TABLE, Y))
        with joblib.parallel_config(backend="dask", scatter=[TABLE, Y]):
            np.testing.assert_array_equal(split_scores(search.fit(TABLE, Y)), expected)


class KilledOnce(Callback):
    """Kill the process that is the first to finish an epoch, one process apart."""

    def __init__(self, marker, spared):
        self.marker = marker
        self.spared = spared

    def on_epoch_end(self, net, **kwargs):
        if os.getpid() == self.spared:
            return
        try:
            marker = os.open(self.marker, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return
        os.write(marker, str(os.getpid()).encode())
        os.kill(os.getpid(), signal.SIGKILL)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@either_search
def test_a_search_outlives_a_worker_that_is_killed_while_it_trains(search, client, tmp_path):
    splits = list(KFold(3).split(X))
    serial = search(small(), cv=splits).fit(X, Y)
    before = set(client.run(os.getpid).values())
    marker = tmp_path / "killed"
    doomed = search(small(callbacks=[KilledOnce(marker, spared=os.getpid())]), cv=splits)
    with joblib.parallel_config(backend="dask", scatter=[X, Y, *chain.from_iterable(splits)]):
        doomed.fit(X, Y)
    np.testing.assert_array_equal(split_scores(doomed), split_scores(serial))
    np.testing.assert_array_equal(doomed.predict(X), serial.predict(X))
    killed = int(marker.read_text())
    client.wait_for_workers(2)
    assert before - set(client.run(os.getpid).values()) == {killed}
    assert not is_alive(killed)


# arrays in blocks


@pytest.fixture
def blocks():
    return da.from_array(X, chunks=(100, -1, -1)), da.from_array(Y, chunks=100)


@pytest.mark.usefixtures("client")
def test_training_on_the_blocks_of_a_dask_array_is_partial_fit_on_the_chunks(blocks):
    model, by_hand = small(), small()
    for pair in zip(*(array.to_delayed().ravel() for array in blocks), strict=True):
        model.partial_fit(*dask.compute(*pair))
    for start in (0, 100, 200):
        by_hand.partial_fit(X[start : start + 100], Y[start : start + 100])
    assert model.n_iter_ == 3
    np.testing.assert_array_equal(model.predict(X), by_hand.predict(X))


@pytest.mark.usefixtures("client")
def test_predictions_for_a_dask_array_are_those_for_the_array(blocks):
    model = small().fit(X, Y)
    lazy = blocks[0].map_blocks(model.predict, drop_axis=(1, 2), meta=np.empty(0))
    assert lazy.shape == (240,)
    np.testing.assert_array_equal(lazy.compute(), model.predict(X))

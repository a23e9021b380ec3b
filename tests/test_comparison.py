import numpy as np
import pytest
from scipy import stats
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklstm import DepthComparison, DepthSearchCV, StackedLSTMRegressor, compare_depths
from sklstm.comparison import first_near, quantile, rows_by_depth


def small(**params):
    return StackedLSTMRegressor(**{"units": 4, "max_epochs": 1, "random_state": 0, **params})


# A hard fold and an easy one; in both, two layers are better by almost the same.
SCORES = np.array([[-80.0, -20.0, -50.0], [-76.0, -16.5, -45.5], [-79.0, -21.0, -50.0]])


def test_differences_are_those_within_folds():
    comparison = DepthComparison([1, 2, 4], SCORES, reference=1)
    assert comparison.differences.tolist() == [[0, 0, 0], [4, 3.5, 4.5], [1, -1, 0]]
    assert comparison.mean.tolist() == [0, 4, 0]
    assert comparison.standard_error == pytest.approx([0, 0.5 / 3**0.5, 1 / 3**0.5])
    assert comparison.best_depth == 2
    other = DepthComparison([1, 2, 4], SCORES, reference=2)
    assert other.mean.tolist() == [-4, 0, -4]


@pytest.mark.parametrize(
    ("scores", "reference", "sentence"),
    [
        (SCORES, 1, "2 layers: 4 MW better than 1, standard error 0.29: deeper is better."),
        (SCORES, 4, "2 layers: 4 MW better than 4, standard error 0.5: deeper is worse."),
        (SCORES, 2, "2 layers: no other depth has a better mean score."),
        (SCORES[[1, 0, 0]], 1, "1 layer: no other depth has a better mean score."),
        (
            SCORES[[0, 2, 2]] + [[0, 0, 0], [0, 0, 2], [0, 0, 0]],
            1,
            "2 layers: 0.67 MW better than 1, standard error 0.88: that may be chance.",
        ),
        (
            SCORES[:, :1],
            1,
            "2 layers: 4 MW better than 1 in a single fold, which cannot tell that from chance.",
        ),
        (
            1000 * SCORES,
            1,
            "2 layers: 4000 MW better than 1, standard error 289: deeper is better.",
        ),
    ],
)
def test_the_verdict_is_a_sentence(scores, reference, sentence):
    assert DepthComparison([1, 2, 4], scores, reference).verdict("MW") == sentence


@pytest.mark.parametrize(
    ("depths", "scores", "sentence"),
    [
        ([1], [[3, 4]], "1 layer: no other depth was tried."),
        ([1, 2], [[np.nan, np.nan], [4, 10]], "1 layer: there is no score to compare with."),
        ([1, 2], [[5, np.nan], [4, 10]], "1 layer: no other depth has a better mean score."),
        ([1, 2], [[-np.inf, 0], [1, 1]], "2 layers: 1 better than 1 in a single fold, which"),
        ([1, 2], [[1, 2], [2, 1]], "1 layer: no other depth has a better mean score."),
        # Three folds, and a difference of less than 2.9 standard errors.
        ([1, 2], [[0, 0, 0], [1, 2, 0]], "2 layers: 1 better than 1, standard error 0.58: that"),
        # Two folds, and one of less than 6.3.
        ([1, 2], [[0, 0], [1, 2]], "2 layers: 1.5 better than 1, standard error 0.5: that may"),
    ],
)
def test_verdicts_on_scores_that_say_little(depths, scores, sentence):
    assert DepthComparison(depths, scores, reference=1).verdict().startswith(sentence)


def test_a_tie_is_no_difference():
    comparison = DepthComparison([1, 2], [[1, 2], [2, 1]], reference=2)
    assert comparison.verdict() == "1 layer: as good as 2."


@pytest.mark.parametrize(
    ("depths", "scores", "message"),
    [
        ([4, 1], [[1, 2], [1, 2]], r"depths must be in increasing order, got \[4, 1\]"),
        ([1, 2, 3], [[1, 2], [1, 2]], r"scores must have shape.*3 depths, got \(2, 2\)"),
        ([1, 2], [1, 2], r"scores must have shape.*got \(2,\)"),
    ],
)
def test_depths_and_scores_that_do_not_go_together_are_named(depths, scores, message):
    with pytest.raises(ValueError, match=message):
        DepthComparison(depths, scores, reference=1)


def test_a_verdict_without_a_unit():
    verdict = DepthComparison([1, 2, 4], SCORES / 1000, reference=1).verdict()
    assert verdict == "2 layers: 0.004 better than 1, standard error 0.00029: deeper is better."


def test_other_parameters_are_those_of_the_best_row(sequences):
    X, y = sequences
    pipeline = make_pipeline(StandardScaler(), small())
    name = "stackedlstmregressor__"
    grid = {f"{name}units": [2, 3], f"{name}n_layers": [3, 1]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X[:, :, 0], y)
    comparison = compare_depths(search)
    assert comparison.depths == [1, 3]
    assert comparison.reference == 1
    for depth, scores in zip(comparison.depths, comparison.scores, strict=True):
        row = search.cv_results_["params"].index(
            {f"{name}units": search.best_params_[f"{name}units"], f"{name}n_layers": depth}
        )
        assert scores.mean() == pytest.approx(search.cv_results_["mean_test_score"][row])
    assert comparison.best_depth == search.best_params_[f"{name}n_layers"]


def test_a_depth_search_and_a_random_one_are_compared_too(sequences):
    short = DepthSearchCV(small(), (1, 2), cv=2, refit=False).fit(*sequences)
    random = RandomizedSearchCV(small(), {"n_layers": [1, 2]}, n_iter=2, cv=2).fit(*sequences)
    assert np.array_equal(compare_depths(short).differences, compare_depths(random).differences)
    assert compare_depths(short).standard_error.tolist() == (
        short.cv_results_["standard_error_difference"].tolist()
    )
    assert compare_depths(short, reference=2).reference == 2


def test_what_is_no_search_over_depths_is_named(sequences):
    with pytest.raises(NotFittedError):
        compare_depths(GridSearchCV(small(), {"n_layers": [1]}))
    with pytest.raises(TypeError, match="got Ridge"):
        compare_depths(Ridge())
    search = GridSearchCV(small(), {"units": [2, 3]}, cv=2).fit(*sequences)
    with pytest.raises(ValueError, match=r"no number of layers in best_params_.*units"):
        compare_depths(search)
    search = DepthSearchCV(small(), (1, 2), cv=2, refit=False).fit(*sequences)
    with pytest.raises(ValueError, match=r"reference must be one of \[1, 2\], got 3"):
        compare_depths(search, reference=3)


def test_of_several_metrics_that_of_the_refit_counts(sequences):
    scoring = {"r2": "r2", "error": "neg_mean_absolute_error"}
    search = GridSearchCV(small(), {"n_layers": [1, 2]}, cv=2, scoring=scoring, refit="error")
    search.fit(*sequences)
    assert compare_depths(search).scores[0, 0] == search.cv_results_["split0_test_error"][0]
    search = clone(search).set_params(refit=False).fit(*sequences)
    with pytest.raises(ValueError, match="several metrics and refit=False"):
        compare_depths(search)


def test_a_candidate_that_was_tried_twice_counts_once(sequences):
    search = RandomizedSearchCV(
        small(), {"n_layers": stats.randint(1, 3)}, n_iter=6, cv=2, random_state=0
    ).fit(*sequences)
    assert len(search.cv_results_["params"]) == 6
    assert compare_depths(search).depths == [1, 2]
    assert search.best_index_ in rows_by_depth(search).values()


def test_parameters_that_are_arrays_are_compared(sequences):
    quantiles = [np.array([0.1, 0.5]), np.array([0.1, 0.9])]
    grid = {"n_layers": [1, 2], "quantile": quantiles, "loss": ["quantile"]}
    search = GridSearchCV(small(), grid, cv=2).fit(*sequences)
    assert compare_depths(search).depths == [1, 2]


def test_searches_whose_scores_cannot_be_compared_are_refused(sequences):
    halving = HalvingGridSearchCV(small(), {"n_layers": [1, 2]}, cv=2, min_resources=30)
    with pytest.raises(TypeError, match=r"HalvingGridSearchCV.*resources"):
        compare_depths(halving.fit(*sequences))
    grid = GridSearchCV(small(), {"n_layers": ["auto"]}, cv=2).fit(*sequences)
    with pytest.raises(ValueError, match=r"no number of layers.*auto"):
        compare_depths(grid)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_search_without_a_score_says_so(sequences):
    search = GridSearchCV(
        small(), {"n_layers": [1, 2]}, cv=2, scoring=lambda m, X, y: float("nan"), refit=False
    ).fit(*sequences)
    with pytest.raises(ValueError, match="no score that is a number"):
        compare_depths(search)


@pytest.mark.parametrize(
    ("scores", "best", "near"),
    [
        ([(0, 0), (0.1, 0.1), (0.05, 0.05)], 1, 1),
        ([(0, 0), (4, 4), (5.5, 3.5)], 2, 1),
        ([(0, 0), (3.4, 3.4), (5.5, 3.5)], 2, 2),
        ([(3.6, 3.6), (4, 4), (5.5, 3.5)], 2, 0),
        # The folds differ by far more than the depths, which are in the same order in each.
        ([(0, 50), (2, 52.2), (1, 51)], 1, 1),
        ([(0.9,), (1.0,), (0.95,)], 1, 1),
        ([(0,) * 10, (0.1,) * 10, (0.05,) * 10], 1, 1),
        # Behind the best by 1 in the only fold that both are in.
        ([(4, np.nan), (5, 5), (4, 4.5)], 1, 1),
        ([(np.nan, np.nan), (5, 5), (4, 4.5)], 1, 1),
    ],
)
def test_the_first_row_near_the_best_is_found(scores, best, near):
    assert first_near(np.array(scores, dtype=float), best) == near


def test_scores_that_are_missing_count_for_nothing():
    scores = np.array([[1.0, 2, 4], [2, np.nan, 4], [np.nan, np.nan, np.nan], [3, 2, 3]])
    comparison = DepthComparison([1, 2, 3, 4], scores, reference=1)
    assert comparison.mean[[0, 1, 3]].tolist() == [0, 0.5, 1 / 3]
    assert np.isnan(comparison.mean[2])
    assert comparison.standard_error[1] == pytest.approx(0.5)
    assert np.isnan(comparison.standard_error[2])
    assert comparison.best_depth == 4


@pytest.mark.parametrize("n_freedom", [1, 2, 3, 4, 5, 9, 30, 1000])
def test_quantiles_are_those_of_students_t(n_freedom):
    assert quantile(n_freedom) == pytest.approx(stats.t.ppf(0.95, n_freedom), rel=0.01)

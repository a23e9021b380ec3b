"""The estimator: parameters, fit, predict."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, RegressorMixin, _fit_context
from sklearn.metrics import d2_pinball_score, r2_score
from sklearn.utils import check_random_state, estimator_html_repr
from sklearn.utils._param_validation import Hidden, Interval, RealNotInt, StrOptions
from sklearn.utils.validation import check_is_fitted

from ._compat import CallbackSupportMixin, with_callbacks
from .data.drift import warn_if_far
from .data.padding import warn_of_padding
from .data.sequences import Sequences, as_sequences
from .data.targets import as_targets, drop_unused, mean_score
from .keras_words import LossNames, advice, refuse_keras_words, warn_of_units_as_layers
from .nn.stack import POOLINGS, SKIPS, StackedLSTM
from .nn.summary import describe
from .training.batches import SequenceDataset
from .training.building import PRECISIONS, build_net, initialize
from .training.checkpoint import open_checkpoint
from .training.epoch_tasks import FitTask
from .training.net import LOSSES, OPTIMIZERS
from .training.recipes import recipe_of_epoch, recipe_of_fit
from .training.threads import own_torch
from .training.user_callbacks import check_callbacks, copied, naming_missing_loss

# Python's integers know no limit, and torch, to which these parameters go, does.
FLOATS = ("lr", "weight_decay", "clip_norm", "tol")
MOST_EPOCHS = int(np.iinfo(np.int64).max)


class StackedLSTMRegressor(CallbackSupportMixin, RegressorMixin, BaseEstimator):
    """Stacked LSTM regressor.

    A sequence of any length goes through `n_layers` LSTM layers, each of which hands its
    whole output sequence to the next; the final output of the last one, or with
    `return_sequences` its output at each step, goes through a Dense head. The model is a
    :class:`StackedLSTM`, trained with a skorch net.

    Read more in the :ref:`User Guide <user_guide>`.

    Parameters
    ----------
    n_layers : int or "auto", default="auto"
        Number of stacked LSTM layers. "auto" is as many as `units` has numbers, or else
        `dropout`; 2 where both are one number for all layers. It comes first:
        ``StackedLSTMRegressor(3)`` has three layers, while Keras' ``LSTM(50)`` is one layer of
        50 units, ``n_layers=1, units=50``.

    units : int or sequence of int, default=64
        Memory cells in each layer, or one number a layer, bottom first.

    dropout : float or sequence of float, default=0.0
        Dropout rate in [0, 1) on what each layer hands on, the top one included, or one
        rate a layer, bottom first. Paths around layers are spared.

    bidirectional : bool, default=False
        Whether every layer reads its sequence in both directions and concatenates the
        two outputs. The second direction starts at each sequence's own last step.

    skip : {"auto", "residual"} or None, default="auto"
        Path around each layer above the first. `None` is the plain stack of the
        textbooks. "residual" adds what a layer puts out to what it reads [7]_, which keeps
        stacks of any depth trainable and lets them grow (see `warm_start`). "auto" is
        "residual", whatever the data.

    pooling : {"last", "mean", "max", "concat"}, default="concat"
        How the top layer's outputs become one vector: the final one, their mean or
        maximum over the steps of the sequence, or these three one after another [4]_.
        Not used with `return_sequences`.

    head_units : sequence of int, default=()
        Sizes of hidden Dense layers (ReLU) between the top LSTM layer and the linear
        output.

    linear_steps : int, "auto" or None, default="auto"
        Last steps that a linear path leads from to the output, beside the stack: ridge
        regression, to which the stack learns what to add. It goes on where a series leaves
        the range it had in training, up to ten standard deviations, as LSTM layers cannot.
        Each output is fitted to the samples in which it has a label; with fewer than three
        of them its path is zero. `None` is no path. "auto" is all steps, or as many last ones
        as are at most 512 numbers (with `return_sequences` each step alone), or no path, by
        the first of these rules that applies:

        - A warm start has the path of the first fit, and `partial_fit` has none.
        - More than 512 features, or fewer than three labels: no path.
        - Fewer than 200 samples, and more labels than numbers that a path would read: a path
          if `loss` is "squared_error", none for the others, which ridge regression is not
          robust enough for.
        - A trial: the stack alone is trained on the first 80 % of the samples, for a quarter of
          the epochs of ``max_epochs="auto"``, or for all of them where there are fewer than 200
          samples. If it predicts the last 20 % better than a path alone, there is none.

        Samples held out by `early_stopping` take no part in this.

    return_sequences : bool, default=False
        Whether there is a target at each time step (many-to-many) instead of one a
        sequence. The Dense head is the same at each step.

    n_timesteps : int, default=None
        For 2-D X only: read each row as this many steps, all features of the first step
        first. `None` reads a row as a univariate sequence, one step a column.

    standardize : bool, default=True
        Whether to centre and scale each feature and each target inside the model, by mean and
        standard deviation. Outliers of a feature are left out of both. Targets have, unless
        `loss` is "squared_error", the median and the range of the middle half instead, which
        large targets cannot move. In 2-D X, whose columns else share a scale as steps of one
        sequence, each column has its own where one of them varies by less than a quarter of
        that scale, as when columns are other quantities.

    loss : {"squared_error", "absolute_error", "huber", "quantile"}, default="squared_error"
        Loss to minimize, on the scaled target. "huber" is quadratic up to 1 there, which is
        one standard deviation of a normally distributed target, and linear beyond. "quantile"
        is the pinball loss [5]_ of `quantile`. All but "squared_error" are robust to large
        targets: these move neither the scale (see `standardize`) nor the linear path.

    quantile : float or sequence of float, default=0.5
        With ``loss="quantile"``, the quantile to predict, in (0, 1). Several, in rising
        order, give predictions a last axis with one column a quantile; the model sorts
        them, so they never cross [6]_.

    lr : float or "auto", default="auto"
        Learning rate; the highest one of the cycle with `lr_schedule="one_cycle"`. "auto"
        is 0.01 for 4,000 samples and more, and in `partial_fit`; for fewer, which make fewer
        steps, it is higher, by the root of 4,000 over their number, up to 0.03.

    batch_size : int or "auto", default="auto"
        Samples in a mini-batch. "auto" is a 32nd of the samples, at least 32 and at most
        64. With `return_sequences` it is at least as many as have 1,024 steps, from 4 to 32.

    max_epochs : int or "auto", default="auto"
        Passes over the data; 0 builds the model without training it. "auto" makes about
        1,700 steps, in at least 10 and at most 28 epochs: small data needs more passes. With
        `return_sequences` it is at most 28 for each 32 steps of a sequence, up to 112.

    optimizer : {"adam", "adamw", "sgd", "rmsprop"} or torch.optim.Optimizer subclass, \
            default="adamw"
        Optimizer; a class must take `lr` and `weight_decay`. "adamw" is "adam" with
        decoupled weight decay.

    weight_decay : float or "auto", default="auto"
        Weight decay of the optimizer. "auto" is 0.08 for "adamw", which decouples it from
        the gradients, and 0 for any other.

    clip_norm : float or None, default=1.0
        Gradients with a larger Euclidean norm than this are scaled down to it. `None`
        never clips.

    lr_schedule : {"one_cycle", "constant"}, default="one_cycle"
        "one_cycle" raises the learning rate to `lr` over the first 30 % of the steps and
        lowers it to 30 % of that over the rest [3]_; what is kept is an average of the weights
        over the last of them [8]_.

    early_stopping : bool, default=False
        Whether to hold out the last part of the data, or take the `validation_data` of
        `fit`, stop when the loss on it no longer improves, and put the weights of its best
        epoch back.

    validation_fraction : float or int, default=0.1
        Samples to hold out with `early_stopping`: a fraction of them in (0, 1), rounded up,
        or an int, their number. It is the tail of the data: overlapping windows would leak
        into a random part. Not used where `fit` gets `validation_data`.

    n_iter_no_change : int, default=20
        Epochs without an improvement of `tol` after which training stops early. Patience
        pays: while the learning rate is high, the validation loss goes up and down.

    tol : float, default=1e-4
        Improvement of the validation loss, in standardized units, that counts.

    warm_start : bool, default=False
        Whether `fit` goes on from the fitted weights and statistics, with a new
        optimizer; an unfitted estimator is simply fitted. A raised `n_layers` adds layers
        on top that change no prediction until they are trained; it takes a `skip`, and the
        new layers have the `units` of the one below.

    precision : {"float32", "bfloat16", "float64"}, default="float32"
        Arithmetic of the network. "bfloat16" rounds in the layers while they train; weights,
        head and predictions are float32. It needs a processor with AVX-512 or a GPU with
        bfloat16: on any other device, `fit` raises a `ValueError`.

    device : str or torch.device, default="cpu"
        "cpu", "cuda", "auto" (CUDA where there is one) or any torch device with float64.

    checkpoint : str or os.PathLike, default=None
        File in which `fit` keeps its state after each epoch. Where the same fit, killed or
        not, has left one, `fit` goes on from it and ends with the same bits; a file of other
        data, parameters or versions is refused. It stays when `fit` is done: delete it to
        train afresh. One path is for one fit, so searches and later warm starts need others.
        It goes with neither `callbacks` nor an optimizer class.

    callbacks : list of skorch callbacks, default=None
        Copies of these run beside the estimator's own; find them in `net_.callbacks_`. One
        that scikit-learn cannot clone, such as one that holds a file, runs itself, in each
        fit and in each clone of the estimator.

    random_state : int, RandomState instance or None, default=None
        Governs initialization, shuffling and dropout. Pass an int for the same bits at
        every fit. Going on from a fit (`warm_start`, `partial_fit`) with another int gives
        another order of samples and other dropout from then on; anything else goes on with
        those of the first fit.

    verbose : int, default=0
        1 shows a progress bar, 2 skorch's table of epochs.

    Attributes
    ----------
    net_ : skorch.NeuralNetRegressor
        The trained skorch net.

    module_ : StackedLSTM
        The trained torch module; scaling included, its `state_dict` is the whole model.

    n_features_in_ : int
        Columns of 2-D X, features at each step of every other form.

    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of the columns, where X was a DataFrame whose column names are all strings.

    n_outputs_ : int
        Number of targets; of y of shape (n_samples, horizon, n_columns),
        ``horizon * n_columns``.

    n_layers_ : int
        Number of LSTM layers.

    lr_ : float
        Learning rate of the last fit, where "auto" is decided.

    batch_size_ : int
        Samples in a mini-batch in the last fit, where "auto" is decided.

    max_epochs_ : int
        Most epochs of the last fit, where "auto" is decided; 1 after `partial_fit`.

    linear_steps_ : int
        Steps that the linear path reads; 0 if there is none.

    n_iter_ : int
        Epochs run, in all fits that went on from one another.

    best_epoch_ : int or None
        Of the epochs of the last fit, the one with the lowest validation loss, or training
        loss without `early_stopping`. Counted from 1 over all fits that went on from one
        another, as `loss_curve_` has them. `None` if the last fit ran no epoch.

    loss_curve_ : list of float
        Training loss of each epoch, on the standardized target.

    validation_loss_curve_ : list of float
        Validation loss of each epoch that had one.

    history_ : skorch.history.History
        All that skorch recorded, a row an epoch.

    n_parameters_ : int
        Number of trained weights.

    See Also
    --------
    StackedLSTM : The torch module.
    LagWindows : From the table of a series to windows.
    sklearn.neural_network.MLPRegressor : A network for tables.

    Notes
    -----
    On one machine equal seeds give equal bits. In float32 on a CPU, the prediction for a
    sample does not depend on the samples predicted with it, to the last bit. A diverged
    epoch stays in `history_` and counts in `n_iter_`, an interrupted one does not.

    References
    ----------
    .. [1] S. Hochreiter and J. Schmidhuber, "Long short-term memory", Neural Computation
       9(8), 1997.
    .. [2] A. Graves, A.-r. Mohamed and G. Hinton, "Speech recognition with deep recurrent
       neural networks", ICASSP 2013.
    .. [3] L. N. Smith and N. Topin, "Super-convergence: very fast training of neural
       networks using large learning rates", arXiv:1708.07120, 2018.
    .. [4] J. Howard and S. Ruder, "Universal language model fine-tuning for text
       classification", ACL 2018.
    .. [5] R. Koenker and G. Bassett, "Regression quantiles", Econometrica 46(1), 1978.
    .. [6] V. Chernozhukov, I. Fernández-Val and A. Galichon, "Quantile and probability
       curves without crossing", Econometrica 78(3), 2010.
    .. [7] Y. Wu et al., "Google's neural machine translation system", arXiv:1609.08144,
       2016.
    .. [8] B. T. Polyak and A. B. Juditsky, "Acceleration of stochastic approximation by
       averaging", SIAM Journal on Control and Optimization 30(4), 1992.

    Examples
    --------
    >>> import numpy as np
    >>> from sklstm import StackedLSTMRegressor
    >>> X = np.random.default_rng(0).normal(size=(500, 10, 1))
    >>> y = X[:, -3:, 0].sum(axis=1)
    >>> model = StackedLSTMRegressor(n_layers=2, units=16, random_state=0)
    >>> model.fit(X[:400], y[:400]).score(X[400:], y[400:]) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "n_layers": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "units": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "bidirectional": ["boolean"],
        "skip": [StrOptions({skip for skip in SKIPS if skip}), None],
        "pooling": [StrOptions(set(POOLINGS))],
        "head_units": ["array-like"],
        "linear_steps": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"}), None],
        "return_sequences": ["boolean"],
        "n_timesteps": [Interval(Integral, 1, None, closed="left"), None],
        "standardize": ["boolean"],
        "loss": [LossNames(set(LOSSES))],
        "quantile": [Interval(Real, 0, 1, closed="neither"), "array-like"],
        "lr": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "max_epochs": [Interval(Integral, 0, MOST_EPOCHS, closed="both"), StrOptions({"auto"})],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "weight_decay": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "lr_schedule": [StrOptions({"one_cycle", "constant"})],
        "early_stopping": ["boolean"],
        "validation_fraction": [
            Interval(RealNotInt, 0, 1, closed="neither"),
            Hidden(np.floating),  # which RealNotInt leaves out, but for float64
            Interval(Integral, 1, None, closed="left"),
        ],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "precision": [StrOptions(set(PRECISIONS))],
        "device": [str, torch.device],
        "checkpoint": [str, os.PathLike, None],
        "callbacks": [list, tuple, None],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    @warn_of_units_as_layers
    @refuse_keras_words
    def __init__(
        self,
        n_layers: int | str = "auto",
        units: int | Sequence[int] = 64,
        dropout: float | Sequence[float] = 0.0,
        *,
        bidirectional: bool = False,
        skip: str | None = "auto",
        pooling: str = "concat",
        head_units: Sequence[int] = (),
        linear_steps: int | str | None = "auto",
        return_sequences: bool = False,
        n_timesteps: int | None = None,
        standardize: bool = True,
        loss: str = "squared_error",
        quantile: float | Sequence[float] = 0.5,
        lr: float | str = "auto",
        batch_size: int | str = "auto",
        max_epochs: int | str = "auto",
        optimizer: str | type[torch.optim.Optimizer] = "adamw",
        weight_decay: float | str = "auto",
        clip_norm: float | None = 1.0,
        lr_schedule: str = "one_cycle",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 20,
        tol: float = 1e-4,
        warm_start: bool = False,
        precision: str = "float32",
        device: str | torch.device = "cpu",
        checkpoint: str | os.PathLike[str] | None = None,
        callbacks: Sequence[Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.n_layers = n_layers
        self.units = units
        self.dropout = dropout
        self.bidirectional = bidirectional
        self.skip = skip
        self.pooling = pooling
        self.head_units = head_units
        self.linear_steps = linear_steps
        self.return_sequences = return_sequences
        self.n_timesteps = n_timesteps
        self.standardize = standardize
        self.loss = loss
        self.quantile = quantile
        self.lr = lr
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.lr_schedule = lr_schedule
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.precision = precision
        self.device = device
        self.checkpoint = checkpoint
        self.callbacks = callbacks
        self.random_state = random_state
        self.verbose = verbose

    @refuse_keras_words
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        validation_data: Sequence[Any] | None = None,
    ) -> StackedLSTMRegressor:
        """Fit the model.

        A fit that fails leaves the estimator as it was. A `KeyboardInterrupt` ends the fit
        with the weights of the best epoch so far and a warning; while `linear_steps="auto"`
        is decided, it is raised, and leaves the estimator as it was, too.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_timesteps, n_features) or \
                (n_samples, n_columns), or list of array-like of shape \
                (n_timesteps, n_features) or (n_timesteps,), or PackedSequence
            Sequences. Those of a list may differ in length. In 3-D X and in a list,
            steps at either end of a sequence are missing if all their features are NaN.
            See `n_timesteps` for how the rows of 2-D X are read.

        y : array-like of shape (n_samples,), (n_samples, n_outputs) or \
                (n_samples, horizon, n_columns)
            Targets; NaN is a missing label. With `return_sequences`, of shape
            (n_samples, n_timesteps) or (n_samples, n_timesteps, n_outputs), or a list
            of arrays of shape (n_timesteps,) or (n_timesteps, n_outputs), or a
            PackedSequence of them.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights in the loss and in the statistics; only their ratios matter. A
            sequence counts by its labels, each of which has its weight. Samples of
            weight zero and samples without a label are left out.

        validation_data : tuple (X, y) or (X, y, sample_weight), default=None
            Samples to measure the validation loss on after each epoch, in the forms of X, y
            and `sample_weight`; nothing is learnt from them, their scaling neither. With
            `early_stopping` they take the place of the held-out part, and all of X and y is
            trained on; without, their loss is only recorded. No step of a pipeline and no
            transformer of targets has an effect on them: pass them as they reach this `fit`.

        Returns
        -------
        StackedLSTMRegressor
            The fitted estimator itself.

        Raises
        ------
        ValueError
            If X, y, `sample_weight`, `validation_data` or a parameter is not as described, if
            callbacks do not go with the other parameters, if the loss is not finite before an
            epoch is finished, or if `checkpoint` is of another fit.
        OSError
            If `checkpoint` cannot be written. Once training has begun that is a warning.
        """
        with _unchanged_on_error(self), own_torch():
            self._fit(X, y, sample_weight, validation_data)
        return self

    @with_callbacks
    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None,
        validation_data: Sequence[Any] | None,
    ) -> None:
        start = getattr(self, "net_", None) if self.warm_start else None
        data = self._check_fit_input(X, y, sample_weight, reset=start is None)
        data.validation = self._check_validation_data(validation_data, data)
        seed = self._seed(start)
        checkpoint = open_checkpoint(self, data, start, seed)
        callbacks = self._copy_callbacks(
            one_cycle=self.lr_schedule == "one_cycle",
            validates=self.early_stopping or data.validation is not None,
        )
        recipe = checkpoint.recipe or recipe_of_fit(self, data, start, seed)
        n_epochs = recipe["max_epochs"] - checkpoint.n_done
        task = FitTask(self, X, y, sample_weight)
        callbacks += [*checkpoint.callbacks(recipe), *task.begin(recipe, n_epochs)]
        net = build_net(recipe, data.X.n_features, data.y.n_features, callbacks)
        initialize(net, data, start)
        checkpoint.restore(net)
        with naming_missing_loss():
            net.partial_fit(data, epochs=n_epochs)
        self.net_, self._recipe = net, recipe
        task.end()

    @refuse_keras_words
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None
    ) -> StackedLSTMRegressor:
        """Train for one epoch over the given samples, at the constant rate `lr`.

        The first call sets the statistics; later ones keep them, the weights and the
        state of the optimizer. There is no validation, hence no early stopping.

        Parameters
        ----------
        X : array-like or list of array-like
            Sequences, as in `fit`.

        y : array-like or list of array-like
            Targets, as in `fit`.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights; only their ratios within this call matter.

        Returns
        -------
        StackedLSTMRegressor
            The fitted estimator itself.

        Raises
        ------
        ValueError
            As in `fit`.
        """
        self._validate_params()  # which scikit-learn leaves out in further calls
        start = getattr(self, "net_", None)
        with _unchanged_on_error(self), own_torch():
            data = self._check_fit_input(X, y, sample_weight, reset=start is None)
            callbacks = self._copy_callbacks(one_cycle=False, validates=False)
            recipe = recipe_of_epoch(self, data, start, self._seed(start))
            if start is not None and not callbacks and recipe == self._recipe:
                with start.unchanged_on_error():  # a new net would take as long as a small batch
                    start.partial_fit(data)
                return self
            net = build_net(recipe, data.X.n_features, data.y.n_features, callbacks)
            initialize(net, data, start)
            if start is not None:
                net.resume_optimizer(start)
            with naming_missing_loss():
                net.partial_fit(data)
            self.net_, self._recipe = net, recipe
        return self

    def predict(self, X: Any) -> Any:
        """Predict one target row for each sequence.

        Parameters
        ----------
        X : array-like or list of array-like
            Sequences, as in `fit`. Their lengths may differ from those in `fit`, but for
            2-D X.

        Returns
        -------
        ndarray of shape (n_samples,), (n_samples, n_outputs) or \
                (n_samples, horizon, n_columns), or list of ndarray
            Predictions in the form of the y of `fit`, with a last axis of quantiles
            where `quantile` is several; float64, unless X and y are float32. With
            `return_sequences`, NaN where a step of X is missing; an array as y was one,
            but a list where the sequences differ in length; a list or an object array
            as y was one.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        ValueError
            If X is not as described, or too extreme for a finite prediction.
        """
        sequences = self._check_predict_input(X)
        return self._y_form.restore(self.net_.predict_in_order(sequences), sequences)

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Score predictions; 1 is perfect.

        Parameters
        ----------
        X : array-like or list of array-like
            Sequences, as in `predict`.

        y : array-like or list of array-like
            Targets, as in `fit`.

        sample_weight : array-like of shape (n_samples,), default=None
            Weights.

        Returns
        -------
        float
            :math:`R^2` over the labels, the mean of those of the outputs; with
            `return_sequences`, over all labelled steps. With ``loss="quantile"``, the mean
            of :math:`D^2`, the part of the pinball loss of the constant quantile that is
            explained.
        """
        sequences = self._check_predict_input(X)
        targets = self._check_scored(sequences, y)
        quantiles = self.net_.get_params_for("criterion").get("quantiles")
        score = r2_score if quantiles is None else partial(_mean_d2_score, quantiles)
        y_pred = self.net_.predict_in_order(sequences)
        return mean_score(score, targets, y_pred, sample_weight)

    def set_params(self, **params: Any) -> StackedLSTMRegressor:
        """Set parameters by their names.

        Parameters
        ----------
        **params : dict
            Parameters of the estimator.

        Returns
        -------
        StackedLSTMRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            If there is no such parameter. If it is Keras', the message says what it is here.
        """
        said = advice(name for name in params if name not in self.get_params())
        if said:
            raise ValueError(f"Invalid parameter for estimator {type(self).__name__}. {said}")
        super().set_params(**params)
        return self

    @property
    def module_(self) -> StackedLSTM:
        return self.net_.module_

    @property
    def history_(self) -> Any:
        return self.net_.history

    @property
    def n_outputs_(self) -> int:
        return self.net_.get_params_for("module")["n_outputs"]

    @property
    def n_layers_(self) -> int:
        return len(self.module_.layers)

    @property
    def lr_(self) -> float:
        return self.net_.lr

    @property
    def batch_size_(self) -> int:
        return self.net_.batch_size

    @property
    def max_epochs_(self) -> int:
        return self.net_.max_epochs

    @property
    def linear_steps_(self) -> int:
        return self.module_.linear_steps

    @property
    def n_iter_(self) -> int:
        return len(self.net_.history)

    @property
    def best_epoch_(self) -> int | None:
        return self.net_.best_epoch.best_epoch_

    @property
    def loss_curve_(self) -> list[float]:
        return [float(row["train_loss"]) for row in self.net_.history]

    @property
    def validation_loss_curve_(self) -> list[float]:
        return [float(row["valid_loss"]) for row in self.net_.history if "valid_loss" in row]

    @property
    def n_parameters_(self) -> int:
        return sum(weights.numel() for weights in self.module_.parameters())

    def _repr_html_inner(self) -> str:
        diagram = estimator_html_repr(self)
        return diagram + describe(self.module_)._repr_html_() if hasattr(self, "net_") else diagram

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle = super()._repr_mimebundle_(**kwargs)
        return {**bundle, "text/html": self._repr_html_inner()} if "text/html" in bundle else bundle

    def __sklearn_clone__(self) -> StackedLSTMRegressor:
        bare = copy.copy(self)
        bare.callbacks = None
        cloned = super(StackedLSTMRegressor, bare).__sklearn_clone__()
        cloned.callbacks = copied(self.callbacks)
        return cloned

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.multi_output = True
        return tags

    def _check_fit_input(
        self, X: Any, y: Any, sample_weight: ArrayLike | None, *, reset: bool
    ) -> SequenceDataset:
        self._check_floats()
        sequences = as_sequences(self, X, n_timesteps=self.n_timesteps, reset=reset)
        if reset:
            warn_of_padding(sequences, self._X_form)
        else:
            self._check_n_timesteps(sequences.n_features)
            self._warn_if_far(sequences)
        targets, self._y_form = as_targets(
            self, sequences, y, return_sequences=self.return_sequences
        )
        sequences, targets, weight = drop_unused(sequences, targets, sample_weight)
        if not reset and targets.n_features == self.n_outputs_:
            warn_if_far(targets, self.module_.output_scaler, "output")
        return SequenceDataset(sequences, targets, weight, has_steps=self.return_sequences)

    def _check_floats(self) -> None:
        for name in FLOATS:
            value = getattr(self, name)
            try:
                float(value) if isinstance(value, Integral) else None
            except OverflowError as error:
                raise ValueError(f"{name} is an integer that no float can be: {error}.") from error

    def _check_validation_data(
        self, validation_data: Sequence[Any] | None, data: SequenceDataset
    ) -> SequenceDataset | None:
        """Bring validation data, which are None or (X, y[, sample_weight]), to one form."""
        if validation_data is None:
            return None
        several = isinstance(validation_data, (tuple, list))
        if not several or len(validation_data) not in (2, 3):
            given = f"{len(validation_data)} of them" if several else type(validation_data).__name__
            raise ValueError(
                f"validation_data must be (X, y) or (X, y, sample_weight), got {given}."
            )
        X, y, *sample_weight = validation_data
        try:
            sequences = as_sequences(self, X, n_timesteps=self.n_timesteps, reset=False)
            targets, _ = as_targets(self, sequences, y, return_sequences=self.return_sequences)
            weight = sample_weight[0] if sample_weight else None
            sequences, targets, weight = drop_unused(sequences, targets, weight)
            if targets.n_features != data.y.n_features:
                raise ValueError(
                    f"y has {targets.n_features} outputs, the y that is trained on has "
                    f"{data.y.n_features}."
                )
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"validation_data: {error}") from error
        return SequenceDataset(sequences, targets, weight, has_steps=self.return_sequences)

    def _check_predict_input(self, X: Any) -> Sequences:
        if not hasattr(self, "net_"):
            check_is_fitted(self)
        sequences = as_sequences(self, X, n_timesteps=self.n_timesteps, reset=False)
        self._check_n_timesteps(sequences.n_features)
        self._warn_if_far(sequences)
        return sequences

    def _warn_if_far(self, sequences: Sequences) -> None:
        scaler, names = self.module_.input_scaler, getattr(self, "feature_names_in_", None)
        if self._X_form != "rows":
            kind = "feature"
        elif scaler is not None and scaler.mean.ndim > 1:
            kind = "column"
        else:  # of the columns of 2-D X, several share a mean and a scale
            kind, names = "feature", names if self.n_timesteps == 1 else None
        warn_if_far(sequences, scaler, kind, names)

    def _check_scored(self, sequences: Sequences, y: Any) -> Sequences:
        targets, _ = as_targets(self, sequences, y, return_sequences=self.module_.return_sequences)
        if targets.n_features != self.n_outputs_:
            raise ValueError(
                f"y has {targets.n_features} outputs, but {type(self).__name__} was fitted with "
                f"{self.n_outputs_}."
            )
        return targets

    def _check_n_timesteps(self, n_features: int) -> None:
        fitted = self.module_.n_features
        if n_features != fitted:
            raise ValueError(
                f"n_timesteps={self.n_timesteps} makes {n_features} features at each step, but "
                f"{type(self).__name__} was fitted with {fitted}."
            )

    def _copy_callbacks(self, *, one_cycle: bool, validates: bool) -> list[Any]:
        callbacks = list(self.callbacks or [])
        check_callbacks(callbacks, one_cycle=one_cycle, validates=validates)
        return copied(callbacks)

    def _seed(self, start: Any) -> int:
        """Return the seed of a fit: that of the fit it goes on from, unless an int is given."""
        if start is not None and not isinstance(self.random_state, Integral):
            return start.seed
        return int(check_random_state(self.random_state).randint(np.iinfo(np.int32).max))


def _mean_d2_score(
    quantiles: float | Sequence[float],
    y_true: NDArray[Any],
    y_pred: NDArray[Any],
    sample_weight: NDArray[Any] | None,
) -> float:
    columns = zip(np.ravel(quantiles), y_pred.reshape(len(y_true), -1).T, strict=True)
    return float(
        np.mean(
            [
                d2_pinball_score(y_true, column, alpha=quantile, sample_weight=sample_weight)
                for quantile, column in columns
            ]
        )
    )


@contextmanager
def _unchanged_on_error(estimator: BaseEstimator) -> Iterator[None]:
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        estimator.__dict__ = before  # in one step, which Ctrl-C cannot cut in two
        raise

"""The skorch net: losses, optimizers, steps, seeding."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from skorch import NeuralNetRegressor
from torch import Tensor, nn

from sklstm.data.sequences import Sequences, ranges
from sklstm.exceptions import warn

from .batches import FEW_ROWS, MANY_ROWS, ROWS, blocks_in_order, inputs_of, rows_to_predict
from .callbacks import Average, BestEpoch, DivergedError, StopTraining, copies
from .heap import heap_kept
from .interrupts import import_what_nets_need
from .randomness import FitGenerators
from .threads import Workers, own_torch

REDUCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": torch.mean,
    "sum": torch.sum,
    "none": nn.Identity(),
}


class PinballLoss(nn.Module):
    """Pinball loss of one quantile, or the mean of those of quantiles on a last axis.

    R. Koenker and G. Bassett, "Regression quantiles", Econometrica 46(1), 1978.

    Parameters
    ----------
    quantiles : float or sequence of float
        One quantile, or one for each column of the predictions' last axis.

    reduction : {"mean", "sum", "none"}, default="mean"
        What becomes of the losses of the targets, as in torch's losses.
    """

    quantiles: Tensor

    def __init__(self, quantiles: float | Sequence[float], reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction must be one of {[*REDUCTIONS]}, got {reduction!r}.")
        self.reduction = reduction
        self.register_buffer("quantiles", torch.tensor(quantiles, dtype=torch.float64))

    def forward(self, y_pred: Tensor, y_true: Tensor) -> Tensor:
        if self.quantiles.ndim:
            y_true = y_true.unsqueeze(-1)
        error = y_true - y_pred
        quantiles = self.quantiles.to(error)
        loss = torch.maximum(quantiles * error, (quantiles - 1) * error)
        return REDUCTIONS[self.reduction](loss.mean(dim=-1) if quantiles.ndim else loss)


LOSSES: dict[str, type[nn.Module]] = {
    "squared_error": nn.MSELoss,
    "absolute_error": nn.L1Loss,
    "huber": nn.HuberLoss,
    "quantile": PinballLoss,
}
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}
Statistics = tuple[NDArray[np.float64], NDArray[np.float64]]
# Numbers in the output of a layer for one block of rows to predict: what stays in the cache. The
# rows times the units are limited too: beyond, oneDNN takes another way through its AVX products.
IN_CACHE, ROWS_TIMES_UNITS, FEWEST_ROWS, MOST_ROWS = 2**19, 2**16, 128, 1024
# Samples of a mini-batch whose gradient one thread computes. Fewer would cost time on one thread:
# 32 are no slower than 64 from 32 units on, while narrower layers are bound by overhead.
CHUNK_ROWS, CHUNK_ROWS_IF_NARROW, NARROW = 32, 64, 32
FUSED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)


def resolve_device(device: str | torch.device) -> str:
    """Turn "auto" into a device, and refuse one that cannot be used.

    The CPU is "cpu", whatever its index: torch pickles a tensor on "cpu:0" and cannot read it.

    Raises
    ------
    ValueError
        If torch does not know the device, or cannot hold float64 numbers on it.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        tried = torch.zeros(1, dtype=torch.float64, device=device)
        tried.item()
    # What a backend raises is its own affair: an ImportError, where it is a package of its own.
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise ValueError(f"device={device!r} cannot be used here: {reason}") from error
    return "cpu" if tried.is_cpu else str(device)


def resolve_autocast(precision: str, device: str) -> torch.dtype | None:
    """Return the lower type to which layers round in training, or `None` if there is none.

    Raises
    ------
    ValueError
        If the device has no such arithmetic.
    """
    if precision != "bfloat16":
        return None
    if not _HAS_BFLOAT16.get(torch.device(device).type, lambda: False)():
        raise ValueError(
            f"precision='bfloat16' cannot be used on device={device!r}: it needs a processor with "
            "AVX-512 or a GPU with bfloat16. Use precision='float32'."
        )
    return torch.bfloat16


_HAS_BFLOAT16 = {
    "cpu": lambda: torch.backends.cpu.get_cpu_capability().startswith("AVX512"),
    "cuda": lambda: torch.cuda.is_bf16_supported(),
}


class StackedLSTMNet(NeuralNetRegressor):
    """A skorch net that trains in standardized units and predicts in the target's.

    Parameters
    ----------
    *args, **kwargs
        As for :class:`skorch.NeuralNetRegressor`.

    seed : int, default=0
        Initialization depends on it alone; shuffling and dropout of an epoch on it and on
        the number of the epoch. Torch's global generators are left alone.

    Notes
    -----
    On a CPU, a mini-batch is cut into chunks whose size depends on the module alone. Each chunk
    runs on one thread, as many at once as torch may use threads, and the gradients are added up in
    the order of the chunks. So the bits of a fit do not depend on the number of threads.
    """

    def __init__(self, *args: Any, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seed = seed

    def initialize(self) -> StackedLSTMNet:
        import_what_nets_need()
        with own_torch():
            super().initialize()
        return self

    def initialize_module(self) -> StackedLSTMNet:
        """Make the module without weights, and draw these from the generator of the fit."""
        with torch.device("meta"):
            module = self.initialized_instance(self.module, self.get_params_for("module"))
        generator = FitGenerators(self.seed, "cpu").begin_epoch(0).shuffle
        self.module_ = module.to_empty(device="cpu").reset_parameters(generator)
        return self

    def initialize_callbacks(self) -> StackedLSTMNet:
        try:
            return super().initialize_callbacks()
        except (TypeError, ValueError) as error:
            raise ValueError(f"callbacks cannot be used: {error}") from error

    def initialize_optimizer(self, *args: Any, **kwargs: Any) -> StackedLSTMNet:
        try:
            return super().initialize_optimizer(*args, **kwargs)
        except (TypeError, ValueError) as error:
            raise ValueError(f"optimizer={self.optimizer!r} cannot be used: {error}") from error

    def set_statistics(self, inputs: Statistics, outputs: Statistics) -> None:
        """Set the mean and the scale of the features and of the targets."""
        for scaler, (mean, scale) in (
            (self.module_.input_scaler, inputs),
            (self.module_.output_scaler, outputs),
        ):
            scaler.mean.copy_(torch.from_numpy(mean))
            scaler.scale.copy_(torch.from_numpy(scale))

    def resume(self, other: StackedLSTMNet) -> None:
        """Go on from the weights, statistics and history of another net."""
        self.module_.grow_from(other.module_)
        rows = ({**row, "batches": []} for row in other.history)
        self.history_: Any = type(other.history)(rows)

    def resume_optimizer(self, other: StackedLSTMNet) -> None:
        """Go on with another net's optimizer state, if the optimizers are of one kind.

        Weights that the other net does not have start without a state.
        """
        if type(self.optimizer_) is type(other.optimizer_):
            self.set_moments(copy.deepcopy(other.moments()))

    def moments(self) -> dict[str, dict[str, Any]]:
        """Return what the optimizer remembers of each weight, by the name of the weight."""
        names = {parameter: name for name, parameter in self.module_.named_parameters()}
        return {names[parameter]: state for parameter, state in self.optimizer_.state.items()}

    def set_moments(self, moments: Mapping[str, dict[str, Any]]) -> None:
        """Have the optimizer remember of some weights what another did."""
        fresh = self.optimizer_.state_dict()
        state = {
            index: moments[name]
            for index, (name, _) in enumerate(self.module_.named_parameters())
            if name in moments
        }
        self.optimizer_.load_state_dict({**fresh, "state": {**fresh["state"], **state}})

    def partial_fit(self, X: Any, y: Any = None, classes: Any = None, **kwargs: Any) -> Any:
        with self._at_work():
            self.ended_ = False
            try:
                super().partial_fit(X, y, classes, **kwargs)
            except KeyboardInterrupt:
                self.best_epoch.on_train_end(self)
                _warn("Training was interrupted before or after its epochs.")
            else:
                if not self.ended_:  # by an interrupt that skorch has caught, such as a second one
                    raise KeyboardInterrupt
            self._set_training(False)
        return self

    def fit_loop(self, X: Any, y: Any = None, epochs: int | None = None, **kwargs: Any) -> Any:
        try:
            super().fit_loop(X, y, epochs, **kwargs)
        except StopTraining:
            pass
        except KeyboardInterrupt:
            self._end_interrupted()
        except DivergedError:
            self._end_diverged()
        else:
            self._warn_if_falling()
        self.ended_ = True
        return self

    @contextmanager
    def unchanged_on_error(self) -> Iterator[None]:
        """Put weights, optimizer, history and best epoch back if the block raises."""
        weights = {name: values.clone() for name, values in self.module_.state_dict().items()}
        moments = {
            name: {
                key: value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)
                for key, value in state.items()
            }
            for name, state in self.moments().items()
        }
        n_epochs, best = len(self.history), dict(vars(self.best_epoch))
        try:
            yield
        except BaseException:
            self.module_.load_state_dict(weights)
            self.optimizer_.state.clear()
            self.set_moments(moments)
            del self.history[n_epochs:]
            self.best_epoch.__dict__.update(best)
            raise

    def rehearse(self, data: Any) -> None:
        """Train without a safety net: interrupts and divergence are raised."""
        with self._at_work():
            self.notify("on_train_begin", X=data, y=None)
            NeuralNetRegressor.fit_loop(self, data)
            self.set_weights(self.weights_to_keep())

    @torch.no_grad()
    def mean_loss(self, data: Any) -> float:
        """Mean loss over the samples, in standardized units."""
        self.module_.eval()
        loss = 0.0
        for inputs, y in self.get_iterator(data, training=False):
            loss += float(self.get_loss(self.infer(inputs), y, X=inputs)) * len(y)
        return loss / len(data)

    def silence_stack(self) -> None:
        """Leave all to the linear path."""
        self.module_.linear.residual_scale.zero_()

    def run_single_epoch(
        self, iterator: Any, training: bool, prefix: str, step_fn: Any, **fit_params: Any
    ) -> None:
        with nullcontext() if training or iterator is None else self.kept_weights():
            super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)

    def weights_to_keep(self) -> list[Tensor]:
        """Return the average of the weights, if there is one, or else the weights."""
        averages = [callback for _, callback in self.callbacks_ if isinstance(callback, Average)]
        return (averages and averages[0].weights_) or list(self.module_.parameters())

    @torch.no_grad()
    def set_weights(self, weights: list[Tensor]) -> None:
        """Copy weights into the module."""
        for parameter, values in zip(self.module_.parameters(), weights, strict=True):
            parameter.copy_(values)

    @contextmanager
    def kept_weights(self) -> Iterator[None]:
        """Predict with the weights to keep rather than with those in training."""
        in_training = copies(self.module_.parameters())
        self.set_weights(self.weights_to_keep())
        try:
            yield
        finally:
            self.set_weights(in_training)

    @property
    def best_epoch(self) -> BestEpoch:
        return dict(self.callbacks_)["best_epoch"]

    def _warn_if_falling(self) -> None:
        fall = self.best_epoch.fall_at_end(self)
        if fall is not None:
            before, last = fall
            _warn(
                "The validation loss was still falling when training ended after max_epochs="
                f"{self.max_epochs} epochs (from {before:.3g} to {last:.3g} in the last fifth of "
                "them). Raise max_epochs."
            )

    def _end_interrupted(self) -> None:
        best, epoch = self.best_epoch, len(self.history)
        if best.last_epoch_ < epoch:
            del self.history[-1]
        best.restore_ = True
        if best.best_epoch_ is not None:
            kept = f"the weights of epoch {best.best_epoch_} are kept"
        elif best.weights_:
            kept = "the weights that it went on from are kept"
        elif self.weights_are_finite():
            kept = "no epoch was finished, the weights are kept as they were then"
        else:
            raise self._divergence_error(epoch)
        _warn(f"Training was interrupted in epoch {epoch}; {kept}.")

    def _end_diverged(self) -> None:
        best, epoch = self.best_epoch, len(self.history)
        if best.best_epoch_ is None:
            raise self._divergence_error(epoch)
        best.restore_ = True
        self.initialize_optimizer()
        _warn(
            f"Training diverged in epoch {epoch} (lr={self.lr!r}); the weights of epoch "
            f"{best.best_epoch_} are kept."
        )

    def _divergence_error(self, epoch: int) -> ValueError:
        return ValueError(
            f"Training diverged in epoch {epoch}: a loss or a weight is not finite at "
            f"lr={self.lr!r} and weight_decay={self.optimizer__weight_decay!r}. Lower them, or "
            "check X and y for extreme values."
        )

    def on_epoch_begin(self, net: Any, **kwargs: Any) -> None:
        if self.history:
            self.history[-1]["batches"].clear()
        super().on_epoch_begin(net, **kwargs)
        self._generators.begin_epoch(len(self.history))

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self.history.record("lr", float(self.optimizer_.param_groups[0]["lr"]))

    def predict_in_order(self, X: Sequences) -> NDArray[Any]:
        """Predict in batches of like length, and answer in the order of X.

        Returns
        -------
        ndarray of shape (n_samples or steps, n_outputs[, n_quantiles])

        Raises
        ------
        ValueError
            If a prediction is not finite.
        """
        y = self._predict(X) if X.are_rows else self._predict_by_length(X)
        if not np.isfinite(y).all():
            finite = np.isfinite(y).reshape(len(y), -1).all(axis=1)
            sample = int(np.repeat(np.arange(len(X)), self._n_answers(X))[finite.argmin()])
            raise ValueError(
                f"X is too extreme for a finite prediction at sample {sample}. Where it is not, lr "
                "or weight_decay was too high in training."
            )
        return y

    def _predict_by_length(self, X: Sequences) -> NDArray[Any]:
        order, counts = np.argsort(X.lengths, kind="stable"), self._n_answers(X)
        by_length = self._predict(X[order])
        y = np.empty_like(by_length)
        y[ranges((np.cumsum(counts) - counts)[order], counts[order])] = by_length
        return y

    @property
    def _answers_once(self) -> bool:
        return not self.module_.return_sequences

    def _n_answers(self, X: Sequences) -> NDArray[np.intp]:
        return np.ones_like(X.lengths) if self._answers_once else X.lengths

    def _predict(self, X: Sequences) -> NDArray[Any]:
        """Predict block by block, each small enough to stay in the cache of its processor."""
        self._set_training(False)
        n_rows = self._rows_in_block(int(X.lengths.max()))
        n_blocks = math.ceil(len(X) / n_rows)

        def predict_block(block: slice) -> NDArray[Any]:
            with torch.inference_mode():
                return self._answer(inputs_of(X, block)).cpu().numpy()

        with (
            own_torch() as n_threads,
            Workers(min(n_threads, n_blocks) if self._on_cpu else 1) as workers,
        ):
            answers = workers.map(predict_block, blocks_in_order(X, n_rows))
            return _joined(answers, len(X) if self._answers_once else int(X.lengths.sum()))

    def _rows_in_block(self, n_steps: int) -> int:
        widest = self.module_.widest
        n_rows = max(FEWEST_ROWS, IN_CACHE // (n_steps * widest))
        n_rows = min(n_rows, MOST_ROWS, max(1, ROWS_TIMES_UNITS // widest))
        multiple = ROWS if n_rows <= FEW_ROWS else MANY_ROWS
        return max(ROWS, n_rows // multiple * multiple)

    @property
    def _on_cpu(self) -> bool:
        return torch.device(self.device).type == "cpu"

    def get_iterator(self, dataset: Any, training: bool = False) -> Any:
        iterator = super().get_iterator(dataset, training=training)
        if training:
            iterator.generator = self._generators.shuffle
        return iterator

    def train_step_single(self, batch: Any, **fit_params: Any) -> dict[str, Tensor]:
        """Compute loss and gradients of a batch, chunk by chunk."""
        self._set_training(True)
        chunks = self._chunks(batch)
        weights = [weight for weight in self.in_training() if weight.requires_grad]

        def step(numbered: tuple[int, Any]) -> tuple[Tensor, Tensor, Any]:
            number, (inputs, y) = numbered
            with torch.enable_grad():
                y_pred = self.infer(inputs, generator=generators[number], **fit_params)
                loss = self.get_loss(y_pred, y, X=inputs, training=True) * (len(y) / n_samples)
                gradients = torch.autograd.grad(loss, weights, allow_unused=True)
            return loss.detach(), y_pred.detach(), gradients

        n_samples = len(batch[1])
        generators = [self._generators.dropout(number) for number in range(len(chunks))]
        steps = self._workers.map(step, list(enumerate(chunks)))
        losses, predictions, gradients = zip(*steps, strict=True)
        for weight, *parts in zip(weights, *gradients, strict=True):
            weight.grad = None if parts[0] is None else _added(parts)
        return {"loss": _added(losses), "y_pred": torch.cat(predictions)}

    def _chunks(self, batch: Any) -> list[Any]:
        """Cut a batch into chunks of equal size, which depends on nothing but the module."""
        inputs, y = batch
        narrow = self.module_.widest < NARROW
        n_chunks = math.ceil(len(y) / (CHUNK_ROWS_IF_NARROW if narrow else CHUNK_ROWS))
        if n_chunks == 1 or not self._on_cpu:
            return [batch]
        parts = {name: values.tensor_split(n_chunks) for name, values in inputs.items()}
        return [
            ({name: values[i] for name, values in parts.items()}, part)
            for i, part in enumerate(y.tensor_split(n_chunks))
        ]

    def infer(self, x: Any, **fit_params: Any) -> Tensor:
        inputs = self._on_device(_module_inputs(x))
        return self.module_(**inputs, scaled=True, **fit_params)

    def in_training(self) -> list[nn.Parameter]:
        """Return the weights that the optimizer changes, in its order."""
        return [weight for group in self.optimizer_.param_groups for weight in group["params"]]

    def _zero_grad_optimizer(self, set_to_none: bool | None = None) -> None:
        for weight in self.in_training():
            weight.grad = None

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        """Train with threads and generators that are there until the end of the block."""
        self._generators = FitGenerators(self.seed, self.device)
        with (
            own_torch() as n_threads,
            Workers(n_threads) as self._workers,
            heap_kept(),
        ):
            try:
                yield
            finally:
                del self._workers, self._generators

    def _set_training(self, training: bool = True) -> None:
        if self.module_.training != training:
            super()._set_training(training)

    def get_loss(
        self, y_pred: Tensor, y_true: Tensor, X: Any = None, training: bool = False
    ) -> Tensor:
        target = self.module_.scale(y_true.to(y_pred.device))
        if "label_weight" not in X:
            return self.criterion_(y_pred, target).mean()
        loss = self.criterion_(y_pred, target.nan_to_num())
        labelled = loss.masked_fill(target.isnan(), 0).flatten(1).sum(dim=1)
        return (labelled * X["label_weight"].to(loss)).mean()

    def evaluation_step(self, batch: tuple[Any, Tensor], training: bool = False) -> Tensor:
        """Predict a batch, filled up such that its size changes no bit.

        Predictions at each step are those of one sequence after the other.
        """
        self._set_training(training)
        with torch.set_grad_enabled(training):
            return self._answer(_module_inputs(batch[0]))

    def _answer(self, inputs: dict[str, Tensor]) -> Tensor:
        n_rows = len(inputs["x"])
        n_missing = rows_to_predict(n_rows) - n_rows
        filled = {name: _filled(values, n_missing) for name, values in inputs.items()}
        y = self.module_(**self._on_device(filled))[:n_rows]
        if not self.module_.return_sequences:
            return y
        if "lengths" not in inputs:
            return y.flatten(0, 1)
        steps = torch.arange(y.shape[1])
        return y[(steps < inputs["lengths"].unsqueeze(1)).to(y.device)]

    def _on_device(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: values.to(self.device) for name, values in inputs.items()}

    def weights_are_finite(self) -> bool:
        return all(bool(p.isfinite().all()) for p in self.module_.parameters())


def _module_inputs(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: values for name, values in batch.items() if name != "label_weight"}


def _joined(parts: Iterator[NDArray[Any]], n_rows: int) -> NDArray[Any]:
    """Join parts of so many rows in all, none of which is kept: they would split up the heap."""
    first = next(parts)
    if len(first) == n_rows:
        return first
    joined, n_joined = np.empty((n_rows, *first.shape[1:]), first.dtype), 0
    for part in chain([first], parts):
        joined[n_joined : n_joined + len(part)] = part
        n_joined += len(part)
    return joined


def _added(parts: Sequence[Tensor]) -> Tensor:
    """Add tensors up in their order; the first one is changed."""
    total = parts[0]
    for part in parts[1:]:
        total += part
    return total


def _filled(values: Tensor, n_missing: int) -> Tensor:
    if not n_missing:
        return values
    return torch.cat([values, values[:1].expand(n_missing, *values.shape[1:])])


def _warn(message: str) -> None:
    warn(message, ConvergenceWarning)

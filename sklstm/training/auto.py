"""What "auto" is for the data at hand: one rule for each parameter, and the plan of a fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from inspect import signature
from typing import Any

import torch

from sklstm.data.scaling import columns_differ
from sklstm.data.targets import labels_every_output

from .batches import SequenceDataset, TailSplit
from .callbacks import DivergedError
from .losses import LOSSES
from .net import make_net, start_net
from .plan import OPTIMIZERS, FitPlan, as_plain
from .runtime import resolve_device
from .shortcut import FEWEST_ROWS, most_steps

# Where nothing says how many layers: the fewest that are a stack.
N_LAYERS = 2

# Learning rate for `FULL_LR_SAMPLES` samples or more. Fewer samples make fewer steps, and have a
# higher rate, up to three times (20 sets: benchmarks/ablation.py, docs/accuracy.rst).
LR, FULL_LR_SAMPLES, MOST_LR_FACTOR = 0.01, 4000, 3.0

# Samples of a mini-batch: a 32nd of all, within these limits. Below 32 the time for a step is
# that of its overhead; above 64 there are too few steps.
BATCH_PART, FEWEST_IN_BATCH, MOST_IN_BATCH = 32, 32, 64
# With a label at each step, labels of a mini-batch that are enough, and the fewest sequences.
ENOUGH_LABELS, FEWEST_SEQUENCES = 4096, 4

# Steps of the optimizer in a fit, and limits of the epochs in which they are made: more than 28
# passes over small data only learn them by heart (benchmarks/ablation.py).
N_STEPS, FEWEST_EPOCHS, MOST_EPOCHS = 1700, 10, 28
# With a label at each step there is more to learn in a sequence: it may be read as often again for
# each 64 labels, up to four times.
LABELS_TO_REPEAT, MOST_REPEATS = 64, 4

# Weight decay of AdamW, where it is decoupled from the gradients. The other optimizers add it to
# the gradients, where it would be a strong penalty: 0 for them.
DECOUPLED_DECAY = 0.08

# The trial of the linear shortcut: the part of the samples at the end on which stack and shortcut
# are compared, the part of the usual epochs that the stack is trained for, and the samples from
# which on that part is enough. With fewer samples ridge regression leads in nearly all sets, so
# there is a trial only where there are too few rows for its columns, with all epochs.
TRIAL_TAIL, TRIAL_EPOCHS, MANY_SAMPLES = 0.2, 0.25, 200


@dataclass
class Decision:
    """The parameters as they were given, the data, and what is decided so far."""

    params: Mapping[str, Any]
    data: SequenceDataset
    seed: int
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def labels_each(self) -> float:
        """Mean number of labels of a sequence."""
        return float(self.data.y.lengths.mean()) if self.data.has_steps else 1.0


def plan_fit(
    params: Mapping[str, Any], data: SequenceDataset, seed: int, start: FitPlan | None = None
) -> FitPlan:
    """Decide every "auto" of a fit.

    Parameters
    ----------
    params : dict
        Parameters of the estimator.

    data : SequenceDataset
        The training data, the part that early stopping holds out included.

    seed : int
        Seed of the fit.

    start : FitPlan or None
        Plan of the fit that is continued: its linear shortcut and its scaling stay.

    Raises
    ------
    ValueError
        If a parameter cannot be used. The message names it.
    """
    values = {f.name: as_plain(params[f.name]) for f in fields(FitPlan) if f.name in params}
    _check_optimizer(values["optimizer"])
    # Those of the other losses are not used, but checked.
    checked = {
        name: {key: check(params[key]) for key, check in loss.params.items()}
        for name, loss in LOSSES.items()
    }
    values["loss_params"] = checked[values["loss"]]
    values["seed"], values["device"] = seed, resolve_device(values["device"])
    if start is None:
        values["scaled_steps"] = _scaled_steps(values, data)
    else:
        values["scaled_steps"] = start.scaled_steps
        if isinstance(values["linear_steps"], str):
            values["linear_steps"] = start.linear_steps
    decision = Decision(params, data, seed, values)
    for name, rule in AUTO_RULES.items():
        if isinstance(values[name], str) and values[name] == "auto":
            values[name] = rule(decision)
    for name in ("lr", "weight_decay", "clip_norm"):
        try:
            values[name] = None if values[name] is None else float(values[name])
        except OverflowError as error:
            raise ValueError(f"{name} is an integer that no float can be: {error}.") from error
    values["linear_steps"] = values["linear_steps"] or 0
    # scikit-learn takes True for the integer 1.
    for name in ("linear_steps", "batch_size", "max_epochs", "n_iter_no_change"):
        values[name] = int(values[name])
    return FitPlan(**values)


def plan_epoch(
    params: Mapping[str, Any], data: SequenceDataset, seed: int, start: FitPlan | None = None
) -> FitPlan:
    """Decide every "auto" of a single epoch at a constant rate, whatever data are to follow."""
    fixed: dict[str, Any] = {"max_epochs": 1, "lr_schedule": "constant", "early_stopping": False}
    if isinstance(params["lr"], str):
        fixed["lr"] = LR
    if isinstance(params["linear_steps"], str) and start is None:
        fixed["linear_steps"] = None
    return plan_fit({**params, **fixed}, data, seed, start)


def n_layers(decision: Decision) -> int:
    """Count the values of `units`, or else of `dropout`; two layers if both are one number."""
    for name in ("units", "dropout"):
        sizes = decision.values[name]
        if isinstance(sizes, tuple):
            if not sizes:
                raise ValueError(f"{name}={sizes!r} has no layer.")
            return len(sizes)
    return N_LAYERS


def lr(decision: Decision) -> float:
    """Return a rate that is the higher, the fewer samples there are."""
    n_samples = len(decision.data)
    return LR * min(MOST_LR_FACTOR, max(1.0, math.sqrt(FULL_LR_SAMPLES / n_samples)))


def batch_size(decision: Decision) -> int:
    """Return a part of the samples, within limits."""
    for_labels = max(FEWEST_SEQUENCES, math.ceil(ENOUGH_LABELS / decision.labels_each))
    n_samples = len(decision.data) // BATCH_PART
    return min(MOST_IN_BATCH, max(min(FEWEST_IN_BATCH, for_labels), n_samples))


def max_epochs(decision: Decision) -> int:
    """Return the epochs that make `N_STEPS` steps, within limits."""
    repeats = min(MOST_REPEATS, max(1, int(decision.labels_each / LABELS_TO_REPEAT)))
    n_epochs = N_STEPS * decision.values["batch_size"] // len(decision.data)
    return min(MOST_EPOCHS * repeats, max(FEWEST_EPOCHS, n_epochs))


def weight_decay(decision: Decision) -> float:
    """Return a decay for AdamW, and none for other optimizers."""
    optimizer = decision.values["optimizer"]
    is_adamw = OPTIMIZERS.get(optimizer, optimizer) is torch.optim.AdamW
    return DECOUPLED_DECAY if is_adamw else 0.0


def linear_steps(decision: Decision) -> int:
    """Return the steps that a linear shortcut reads, or 0 where it does not help.

    With few samples, but more of them than columns, it helps; otherwise a trial decides.
    """
    values, data = decision.values, decision.data
    if values["early_stopping"]:
        data = TailSplit(values["validation_fraction"])(data)[0]
        decision = Decision(decision.params, data, decision.seed)
    n_steps = most_steps(data)
    n_rows, n_columns = len(data) * decision.labels_each, n_steps * data.X.n_features
    if n_steps == 0 or n_rows < FEWEST_ROWS:
        return 0
    if len(data) < MANY_SAMPLES and n_columns < n_rows:
        # Ridge regression follows large targets, which robust losses do not.
        return 0 if LOSSES[values["loss"]].is_robust else n_steps
    return 0 if _stack_beats_shortcut(decision, n_steps) else n_steps


# The rules by the parameter whose "auto" they decide. A rule may read `values` of the parameters
# above its own. The tests run over this registry.
AUTO_RULES: dict[str, Callable[[Decision], Any]] = {
    "n_layers": n_layers,
    "lr": lr,
    "batch_size": batch_size,
    "max_epochs": max_epochs,
    "weight_decay": weight_decay,
    "linear_steps": linear_steps,
}


def _check_optimizer(optimizer: Any) -> None:
    """Check that a class takes what the estimator sets."""
    if isinstance(optimizer, str):
        return
    try:
        arguments = set(signature(optimizer).parameters)
    except ValueError:  # it has no signature that can be read
        arguments = set()
    missing = {"lr", "weight_decay"} - arguments
    if missing:
        raise ValueError(f"optimizer={optimizer!r} does not take {sorted(missing)}.")


def _scaled_steps(values: dict[str, Any], data: SequenceDataset) -> int:
    """Return the columns of 2-D X that have scales of their own, or 0.

    The steps of any other X share their scale, as a sequence may have any number of them.
    """
    if not values["standardize"] or not data.is_table or not data.X.are_equal:
        return 0
    n_steps = int(data.X.lengths[0])
    return n_steps if n_steps > 1 and columns_differ(data.X, data.sample_weight) else 0


def _stack_beats_shortcut(decision: Decision, n_steps: int) -> bool:
    """Train the stack alone for a short time; compare it with the shortcut alone on the tail."""
    data = decision.data
    n_head = len(data) - math.ceil(TRIAL_TAIL * len(data))
    if n_head == 0:
        return False
    head, tail = data.split(n_head)
    if not labels_every_output(head.y):
        return True
    plan = plan_fit({**decision.params, "linear_steps": None}, data, decision.seed)
    if isinstance(decision.params["batch_size"], str):
        batch = batch_size(Decision(decision.params, head, decision.seed))
    else:
        batch = plan.batch_size
    part = TRIAL_EPOCHS if len(data) >= MANY_SAMPLES else 1.0
    usual_epochs = max_epochs(Decision({}, data, 0, {"batch_size": plan.batch_size}))
    alone = replace(
        plan,
        batch_size=batch,
        max_epochs=math.ceil(part * usual_epochs),
        early_stopping=False,
        # Of several quantiles, the median alone.
        loss_params={"quantile": 0.5} if "quantile" in plan.loss_params else plan.loss_params,
    )
    sizes = data.X.n_features, data.y.n_features
    shortcut = make_net(replace(alone, linear_steps=n_steps), *sizes)
    start_net(shortcut, head)
    shortcut.module_.linear.residual_scale.zero_()
    stack = make_net(alone, *sizes)
    start_net(stack, head)
    try:
        stack.train_to_the_end(head)
    except DivergedError:
        return False
    return stack.mean_loss(tail) < shortcut.mean_loss(tail)

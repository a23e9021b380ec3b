"""The plan of a fit: all that it is made by, each "auto" decided, as plain values."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np
import torch

from sklstm.nn.pooling import POOLINGS

from .losses import LOSSES
from .runtime import PRECISIONS

OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
}
LR_SCHEDULES = ("one_cycle", "constant")


@dataclass(frozen=True)
class FitPlan:
    """All that a fit is made by, beside the data.

    The fields are parameters of the estimator, described there, but for these: `loss_params` has
    the parameters of the loss; `scaled_steps` is the number of time steps each of which has a mean
    and a scale of its own, or 0; `seed` comes from `random_state`.

    A plan is made by `auto.plan_fit`. A saved model and a checkpoint hold it.
    """

    # Network
    n_layers: int
    units: int | tuple[int, ...]
    dropout: float | tuple[float, ...]
    bidirectional: bool
    skip: str | None
    pooling: str
    head_units: tuple[int, ...]
    linear_steps: int
    return_sequences: bool
    # Target and loss
    standardize: bool
    scaled_steps: int
    loss: str
    loss_params: dict[str, Any]
    # Training
    lr: float
    batch_size: int
    max_epochs: int
    optimizer: str | type[torch.optim.Optimizer]
    weight_decay: float
    clip_norm: float | None
    lr_schedule: str
    early_stopping: bool
    validation_fraction: float | int
    n_iter_no_change: int
    # Running
    precision: str
    device: str
    seed: int

    def __post_init__(self) -> None:
        """Check the values, as they may come from a file that anybody wrote."""
        for name, is_valid in _CHECKS.items():
            value = getattr(self, name)
            if not is_valid(value):
                raise ValueError(f"{name} is {repr(value)[:40]}, which no fit has.")
        checks, given = LOSSES[self.loss].params, self.loss_params
        is_plain = set(checks) == set(given)
        if not is_plain or any(check(given[key]) != given[key] for key, check in checks.items()):
            raise ValueError(f"loss_params is {repr(given)[:40]}, wrong for loss={self.loss!r}.")

    @property
    def n_quantiles(self) -> int | None:
        """Number of quantiles, `None` where there is a single value for each output."""
        quantile = self.loss_params.get("quantile")
        return len(quantile) if isinstance(quantile, tuple) else None

    def module_params(self) -> dict[str, Any]:
        """Return the parameters of the module, but for those that the data and device decide."""
        names = ("n_layers", "units", "dropout", "bidirectional", "skip", "pooling", "head_units")
        return {
            **{name: getattr(self, name) for name in names},
            "return_sequences": self.return_sequences,
            "linear_steps": self.linear_steps,
            "n_quantiles": self.n_quantiles,
            "standardize": self.standardize,
            "scaled_steps": self.scaled_steps,
            "dtype": PRECISIONS[self.precision],
        }

    def optimizer_class(self) -> Any:
        """Return the class of the optimizer, which may be given by name."""
        return OPTIMIZERS[self.optimizer] if isinstance(self.optimizer, str) else self.optimizer

    def to_dict(self) -> dict[str, Any]:
        """Return the values as JSON can hold them.

        Raises
        ------
        ValueError
            If the optimizer is a class, which no file without code can hold.
        """
        if not isinstance(self.optimizer, str):
            raise ValueError(f"optimizer={self.optimizer!r} cannot be saved: it is a class.")
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FitPlan:
        """Make a plan of what `to_dict` returned, or of what somebody made up.

        Raises
        ------
        ValueError
            If it is no plan.
        """
        wrong = sorted({field.name for field in fields(cls)} ^ set(values))
        if wrong:
            raise ValueError(f"{wrong[0][:40]!r} is missing, or not known to this sklstm.")
        if not isinstance(values["loss_params"], dict):
            raise ValueError("loss_params is no mapping.")
        plain = {name: as_plain(value) for name, value in values.items()}
        params = values["loss_params"].items()
        return cls(**{**plain, "loss_params": {name: as_plain(value) for name, value in params}})


def check_memory(plan: FitPlan, n_features: int, n_outputs: int) -> None:
    """Refuse a model whose weights are larger than the memory of the machine.

    Without this, torch would fill up the memory until the system kills the process.

    Raises
    ------
    ValueError
        If they are, counted from below.
    """
    units, hidden = (
        [n for n in (sizes if isinstance(sizes, tuple) else (sizes,)) if isinstance(n, int)]
        for sizes in (plan.units, plan.head_units)
    )
    n_alike = plan.n_layers if isinstance(plan.units, int) else 1
    n_weights = n_alike * sum(4 * n * (n + 3) for n in units)
    n_vectors = 1 if plan.return_sequences else POOLINGS[plan.pooling].n_vectors
    pooled = [n_vectors * (1 + plan.bidirectional) * n for n in units[-1:]]
    n_weights += sum(below * above for below, above in pairwise([*pooled, *hidden, n_outputs]))
    # The shortcut is fitted to two rows at least.
    n_weights += plan.linear_steps * n_features * (n_outputs + 2)
    n_bytes, n_there = n_weights * PRECISIONS[plan.precision].itemsize, _memory()
    if n_bytes > n_there:
        sizes = ("n_layers", "units", "head_units", "linear_steps")
        named = ", ".join(f"{name}={getattr(plan, name)!r}" for name in sizes)
        raise ValueError(
            f"A model of {named} takes {-(-n_bytes // 2**30):,} GiB of memory or more; this "
            f"machine has {n_there / 2**30:,.1f} GiB."
        )


def _memory() -> int:
    """Return the bytes of memory of the machine, or 16 TiB where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**44


def as_plain(value: Any) -> Any:
    """Return numbers of numpy as Python's own, and arrays and sequences as tuples."""
    if getattr(value, "ndim", 0) > 0:
        value = np.asarray(value).tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(as_plain(item) for item in value)
    if isinstance(value, np.generic):
        value = value.item()
    # Python has no number for a long double of numpy, whose item() is itself.
    return float(value) if isinstance(value, np.longdouble) else value


def _is_count(value: Any, least: int = 0) -> bool:
    return type(value) is int and value >= least


def _is_number(value: Any, least: float = 0.0) -> bool:
    return isinstance(value, (int, float)) and isfinite(value) and value >= least


def _is_bool(value: Any) -> bool:
    return type(value) is bool


_is_positive_count = partial(_is_count, least=1)
# What each field has to be. Sizes and rates of layers are checked by the module.
_CHECKS: dict[str, Callable[[Any], bool]] = {
    "n_layers": lambda value: isinstance(value, int) and value >= 1,
    "bidirectional": _is_bool,
    "linear_steps": _is_count,
    "return_sequences": _is_bool,
    "standardize": _is_bool,
    "scaled_steps": _is_count,
    "pooling": lambda value: isinstance(value, str) and value in POOLINGS,
    "loss": lambda value: isinstance(value, str) and value in LOSSES,
    "lr": _is_number,
    "batch_size": _is_positive_count,
    "max_epochs": _is_count,
    "optimizer": lambda value: value in OPTIMIZERS if isinstance(value, str) else callable(value),
    "weight_decay": _is_number,
    "clip_norm": lambda value: value is None or _is_number(value),
    "lr_schedule": lambda value: value in LR_SCHEDULES,
    "early_stopping": _is_bool,
    "validation_fraction": _is_number,
    "n_iter_no_change": _is_positive_count,
    "precision": lambda value: isinstance(value, str) and value in PRECISIONS,
    "device": lambda value: isinstance(value, str),
    "seed": _is_count,
}

"""The parts of a stack: LSTM layers, skip connections, Dense layers, scaling."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# Standard deviations from the mean up to which scaled inputs stay as they are. `data` takes values
# beyond it for outliers when it measures the scale.
FAR = 10.0
# Largest scaled input: its square, which the gradient of asinh needs, is still a float32 number.
FARTHEST = 1e18
# Rows and columns of the matrix products that `Dense` computes. In a product of this height and of
# a width that is a multiple of eight, MKL rounds each row in the same way at every place, with
# SSE4.2, AVX2 and AVX-512. With 8 or 32 rows, or odd widths, it does not (see
# benchmarks/batch_bits.py).
BLOCK_ROWS, BLOCK_COLUMNS = 64, 8


class Standardize(nn.Module):
    """Centre and scale the last axis, or the last two.

    The statistics are float64 buffers whatever the precision of the network, so that values with a
    large offset, such as time stamps, keep their digits. They begin as the identity.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(shape, dtype=torch.float64))

    def reset_parameters(self) -> None:
        """Set the statistics of the identity."""
        self.mean.zero_()
        self.scale.fill_(1)

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.mean).div_(self.scale)

    def inverse(self, values: Tensor) -> Tensor:
        return values * self.scale + self.mean


def squash(scaled: Tensor) -> Tensor:
    """Keep scaled values up to `FAR` as they are; beyond it they grow like logarithms."""
    near = scaled.clamp(-FAR, FAR)
    return (scaled - near).asinh().add_(near)


class Dense(nn.Linear):
    """A linear layer that, outside training, rounds each row in the same way in every batch."""

    def forward(self, x: Tensor) -> Tensor:
        return linear_by_row(x, self.weight, self.bias, self.training)


def linear_by_row(x: Tensor, weight: Tensor, bias: Tensor | None, training: bool) -> Tensor:
    """Apply a linear function to the last axis; outside training, to each row in the same way.

    A matrix product may round a row differently in batches of other sizes, and on other numbers of
    threads. Therefore, without gradients, the rows are computed in blocks of a fixed size, filled
    with zeros. On one thread this gives the same bits for a row in every batch.
    """
    if training or not x.is_cpu or torch.is_grad_enabled():
        return nn.functional.linear(x, weight, bias)
    rows, n_out = x.reshape(-1, x.shape[-1]), len(weight)
    n_rows, n_columns = len(rows), n_out + -n_out % BLOCK_COLUMNS
    weight = nn.functional.pad(weight, (0, 0, 0, n_columns - n_out))
    results = rows.new_empty(n_rows + -n_rows % BLOCK_ROWS, n_columns)
    for first in range(0, n_rows, BLOCK_ROWS):
        block = rows[first : first + BLOCK_ROWS]
        if len(block) < BLOCK_ROWS:
            block = nn.functional.pad(block, (0, 0, 0, BLOCK_ROWS - len(block)))
        torch.mm(block, weight.T, out=results[first : first + BLOCK_ROWS])
    y = results[:n_rows, :n_out].reshape(*x.shape[:-1], n_out)
    return y if bias is None else y + bias


class Dropout(nn.Dropout):
    """Dropout that draws from a given generator, or from torch's global one."""

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        if generator is None or not self.training or self.p == 0:
            return super().forward(x)
        kept = torch.empty_like(x).bernoulli_(1 - self.p, generator=generator)
        return x * kept.div_(1 - self.p)


class LinearShortcut(nn.Module):
    """A linear function of the last `n_steps` steps, to which the output of the stack is added.

    It ends at the last step of each sequence, or `at_each_step`. Before a shorter sequence it reads
    zeros. With `clip`, it reads inputs beyond `FAR` as `FAR`.

    Its weights are buffers: they are set, not trained, and zero until then. `weight` has the shape
    (n_outputs, n_steps * n_features), all features of the earliest step first; `bias` and
    `residual_scale`, by which the output of the stack is multiplied, have one number per output.
    """

    weight: Tensor
    bias: Tensor
    residual_scale: Tensor

    def __init__(
        self,
        n_features: int,
        n_outputs: int,
        n_steps: int,
        *,
        at_each_step: bool = False,
        clip: bool = False,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.n_steps = n_steps
        self.at_each_step = at_each_step
        self.clip = clip
        self.register_buffer("weight", torch.zeros(n_outputs, n_steps * n_features, dtype=dtype))
        self.register_buffer("bias", torch.zeros(n_outputs, dtype=dtype))
        self.register_buffer("residual_scale", torch.ones(n_outputs, dtype=dtype))

    def reset_parameters(self) -> None:
        """Set weights of zero, and the scale of one."""
        self.weight.zero_()
        self.bias.zero_()
        self.residual_scale.fill_(1)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return linear_by_row(self.windows(x, lengths), self.weight, self.bias, self.training)

    def windows(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the steps that are read of each sequence, or up to each step, side by side.

        The shape is (batch, [n_timesteps,] n_steps * n_features).
        """
        if self.clip:
            x = x.clamp(-FAR, FAR)
        padded = nn.functional.pad(x, (0, 0, self.n_steps, 0))
        if self.at_each_step:
            windows = padded[:, 1:].unfold(1, self.n_steps, 1).mT
        elif lengths is None:
            windows = padded[:, -self.n_steps :]
        else:
            steps = lengths.to(x.device).unsqueeze(1) + torch.arange(self.n_steps, device=x.device)
            windows = padded.take_along_dim(steps.unsqueeze(2), dim=1)
        return windows.flatten(-2)


class Bidirectional(nn.Module):
    """Two LSTM layers; the second reads each sequence from its own last step backwards.

    They are two because a single bidirectional ``nn.LSTM`` would start in the padding.
    """

    def __init__(self, width: int, units: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.forward_layer = nn.LSTM(width, units, batch_first=True, dtype=dtype)
        self.backward_layer = nn.LSTM(width, units, batch_first=True, dtype=dtype)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        backward = self.backward_layer(_reverse(x, lengths))[0]
        return torch.cat([self.forward_layer(x)[0], _reverse(backward, lengths)], dim=-1)


def _reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Turn the steps of each sequence round; its padding stays behind it."""
    if lengths is None:
        return x.flip(1)
    steps = torch.arange(x.shape[1], device=x.device)
    mirrored = lengths.unsqueeze(1) - 1 - steps
    return x.take_along_dim(torch.where(mirrored < 0, steps, mirrored).unsqueeze(2), dim=1)


class NoSkip(nn.Module):
    """No skip connection: the output of a layer alone."""

    def forward(self, below: Tensor, output: Tensor) -> Tensor:
        return output


class Residual(nn.Module):
    """A residual skip connection: the input of a layer plus its output.

    If they differ in width, the input is projected by a linear function without bias.
    """

    def __init__(self, below: int, width: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.projection = (
            nn.Identity() if below == width else Dense(below, width, bias=False, dtype=dtype)
        )

    def forward(self, below: Tensor, output: Tensor) -> Tensor:
        projected: Tensor = self.projection(below)
        return projected + output


@torch.no_grad()
def draw_weights(layer: nn.Module, generator: torch.Generator | None) -> None:
    """Draw the weights of an ``nn.LSTM`` or ``nn.Linear`` as torch does, from a generator."""
    if isinstance(layer, nn.LSTM):
        bound = 1 / math.sqrt(layer.hidden_size)
        for weights in layer.parameters():
            nn.init.uniform_(weights, -bound, bound, generator=generator)
    elif isinstance(layer, nn.Linear):
        nn.init.kaiming_uniform_(layer.weight, math.sqrt(5), generator=generator)
        if layer.bias is not None:
            bound = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.bias, -bound, bound, generator=generator)


@torch.no_grad()
def zero_candidate_weights(layer: nn.Module) -> None:
    """Set the weights of the candidate cell values to zero: the layer then outputs zeros.

    The gates keep their weights, so the gradient reaches the zeros in the first step.
    """
    for part in layer.modules():
        if isinstance(part, nn.LSTM):
            for weights in part.parameters():
                _, _, candidate, _ = weights.chunk(4)  # torch's order: input, forget, cell, output
                candidate.zero_()

"""The parts of a stack: LSTM layers, the paths around them, pooling, Dense, scaling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FAR, FARTHEST = 10.0, 1e18
PRODUCTS = 2**22


class Standardize(nn.Module):
    """Centre and scale the last axis.

    The statistics are float64 buffers whatever the precision of the network, so that
    values with a large offset (time stamps, say) keep their digits.

    Parameters
    ----------
    n_features : int
        Length of the last axis.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_features, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(n_features, dtype=torch.float64))

    def forward(self, values: Tensor) -> Tensor:
        return (values - self.mean).div_(self.scale)

    def inverse(self, values: Tensor) -> Tensor:
        return values * self.scale + self.mean


def squash(scaled: Tensor) -> Tensor:
    """Leave scaled values as they are up to `FAR`, and let them grow as logarithms beyond."""
    near = scaled.clamp(-FAR, FAR)
    return (scaled - near).asinh().add_(near)


class Dense(nn.Linear):
    """A linear layer that, outside training, treats each row alike wherever it stands.

    A matrix product rounds a row differently in batches of other sizes. Products summed
    along the last axis do not, and for a head they cost little.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training or not x.is_cpu:
            return super().forward(x)
        y = _row_by_row(x, self.weight)
        return y if self.bias is None else y + self.bias


def _row_by_row(x: Tensor, weight: Tensor) -> Tensor:
    n_rows = max(4, PRODUCTS // weight.numel() // 4 * 4)
    if x.ndim == 2 and len(x) <= n_rows:
        return (x.unsqueeze(-2) * weight).sum(dim=-1)
    parts = x.reshape(-1, weight.shape[1]).split(n_rows)
    sums = torch.cat([_row_by_row(rows, weight) for rows in parts])
    return sums.reshape(*x.shape[:-1], weight.shape[0])


class LinearPath(nn.Module):
    """A linear function of the last steps, to which what a stack puts out is added.

    Its weights are buffers: they are set, not trained. All zero, they leave the stack alone.

    Parameters
    ----------
    n_features : int
        Features at each step.

    n_outputs : int
        Outputs.

    n_steps : int
        Last steps that it reads. Where a sequence has fewer, zeros stand before it.

    dtype : torch.dtype, default=None
        Type of the weights.

    Attributes
    ----------
    weight : torch.Tensor of shape (n_outputs, n_steps * n_features)
        Weights, all features of the earliest step first.

    bias : torch.Tensor of shape (n_outputs,)
        Constants.

    residual_scale : torch.Tensor of shape (n_outputs,)
        Units in which the stack answers.
    """

    weight: Tensor
    bias: Tensor
    residual_scale: Tensor

    def __init__(
        self, n_features: int, n_outputs: int, n_steps: int, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.n_steps = n_steps
        self.register_buffer("weight", torch.zeros(n_outputs, n_steps * n_features, dtype=dtype))
        self.register_buffer("bias", torch.zeros(n_outputs, dtype=dtype))
        self.register_buffer("residual_scale", torch.ones(n_outputs, dtype=dtype))

    def forward(self, windows: Tensor) -> Tensor:
        if self.training or not windows.is_cpu:
            return nn.functional.linear(windows, self.weight, self.bias)
        return _row_by_row(windows, self.weight) + self.bias

    def windows(self, x: Tensor, lengths: Tensor | None, at_each_step: bool) -> Tensor:
        """Lay the steps to read side by side, at the end of each sequence or at each step of it.

        Returns
        -------
        torch.Tensor of shape (batch, [n_timesteps,] n_steps * n_features)
        """
        padded = nn.functional.pad(x, (0, 0, self.n_steps, 0))
        if at_each_step:
            windows = padded[:, 1:].unfold(1, self.n_steps, 1).mT
        elif lengths is None:
            windows = padded[:, -self.n_steps :]
        else:
            steps = lengths.to(x.device).unsqueeze(1) + torch.arange(self.n_steps, device=x.device)
            windows = padded.take_along_dim(steps.unsqueeze(2), dim=1)
        return windows.flatten(-2)


def dtype_of(layer: nn.Module) -> torch.dtype:
    """Type of the weights of an LSTM layer of either kind."""
    weights = (layer.forward_layer if isinstance(layer, Bidirectional) else layer).weight_ih_l0
    return weights.dtype  # type: ignore[return-value]


class Bidirectional(nn.Module):
    """Two LSTM layers, one of which reads each sequence from its own last step backwards.

    Two of them, because a single bidirectional ``nn.LSTM`` would start in the padding.
    """

    def __init__(self, width: int, units: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.forward_layer = nn.LSTM(width, units, batch_first=True, dtype=dtype)
        self.backward_layer = nn.LSTM(width, units, batch_first=True, dtype=dtype)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        backward = self.backward_layer(_reverse(x, lengths))[0]
        return torch.cat([self.forward_layer(x)[0], _reverse(backward, lengths)], dim=-1)


def _reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is None:
        return x.flip(1)
    steps = torch.arange(x.shape[1], device=x.device)
    mirrored = lengths.unsqueeze(1) - 1 - steps
    return x.take_along_dim(torch.where(mirrored < 0, steps, mirrored).unsqueeze(2), dim=1)


def at_end(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Output at the last step of each sequence."""
    if lengths is None:
        return sequence[:, -1]
    return sequence.take_along_dim((lengths - 1).view(-1, 1, 1), dim=1)[:, 0]


def mean(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Mean over the steps, added up one by one: padding changes no bit of it."""
    n_steps = sequence.shape[1] if lengths is None else lengths.unsqueeze(1)
    return at_end(sequence.cumsum(1), lengths) / n_steps


def maximum(sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Maximum over the steps."""
    if lengths is not None:
        padding = torch.arange(sequence.shape[1], device=lengths.device) >= lengths.unsqueeze(1)
        sequence = sequence.masked_fill(padding.unsqueeze(2), -torch.inf)
    return sequence.amax(1)


class Plain(nn.Module):
    """No path around a layer: what it puts out goes up alone."""

    def forward(self, below: Tensor, output: Tensor) -> Tensor:
        return output


class Residual(nn.Module):
    """A path around a layer: what is below it goes up, plus what it puts out.

    Between layers of other widths a linear projection, without bias, is on the path.
    """

    def __init__(self, below: int, width: int, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.projection = (
            nn.Identity() if below == width else Dense(below, width, bias=False, dtype=dtype)
        )

    def forward(self, below: Tensor, output: Tensor) -> Tensor:
        path: Tensor = self.projection(below)
        return path + output


@torch.no_grad()
def silence(layer: nn.Module) -> None:
    """Give an LSTM layer of either kind nothing to store, so that it puts out zeros.

    Its gates keep their weights: only those of the cell's candidate values are zero, and
    the gradient reaches them at once.
    """
    for part in layer.modules():
        if isinstance(part, nn.LSTM):
            for weights in part.parameters():
                _, _, candidate, _ = weights.chunk(4)
                candidate.zero_()


def run(layer: nn.Module, sequence: Tensor, lengths: Tensor | None) -> Tensor:
    """Output sequence of an LSTM layer of either kind."""
    if isinstance(layer, Bidirectional):
        return layer(sequence, lengths)
    outputs: Tensor = layer(sequence)[0]
    return outputs

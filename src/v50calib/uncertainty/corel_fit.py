"""Fit of CoRel's network: log scale by the Gaussian likelihood, or 39 quantiles by pinball loss; early stopping on held-out planets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from v50calib.kernels.arrays import Float
from v50calib.uncertainty.corel_graph import channel_wavelength, edge_attributes, neighbours
from v50calib.uncertainty.corel_net import Network
from v50calib.uncertainty.options import CorelOptions

#: levels of the quantile head, and the two whose distance is taken as twice its scale
LEVELS = np.arange(1, 40) / 40.0
LOW, HIGH = 5, 33
#: the network's log scale is kept within ± this of the per-bin temperature
LIMIT = 2.5


@dataclass(frozen=True)
class Trained:
    """A fitted network's arrays, {name: array}; the validation loss at epoch 0 and at the best epoch, and that epoch."""

    arrays: dict[str, NDArray[np.float32]]
    covariates: int
    nodes: int
    first_loss: float
    best_loss: float
    best_epoch: int


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """One thread and a fixed seed inside; the caller's generator and thread count are restored afterwards."""
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_rng_state(state)


def train(z: Float, x: Float, training: NDArray[np.int64], validation: NDArray[np.int64], options: CorelOptions) -> Trained:
    """Fit on the planets `training`, stop by the loss of the planets `validation`.

    z (planet, bin): residuals divided by the per-bin temperature; x (planet, bin, C): standardized covariates.
    """
    fit = options.fit
    with repeatable(fit.seed):
        network, graph = _network(x.shape[2], x.shape[1], options)
        targets, inputs = torch.from_numpy(z.astype(np.float32)), torch.from_numpy(x.astype(np.float32))
        optimizer = torch.optim.AdamW(network.parameters(), lr=fit.lr, weight_decay=fit.weight_decay)
        steps = max(fit.epochs * -(-len(training) // fit.batch_size), 1)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=fit.lr, total_steps=steps + 1, pct_start=0.15)
        order = np.random.default_rng(fit.seed)
        first = best = _evaluate(network, graph, inputs[validation], targets[validation], options)
        kept, best_epoch = _arrays(network), 0
        for epoch in range(1, fit.epochs + 1):
            network.train()
            for batch in np.array_split(order.permutation(training), -(-len(training) // fit.batch_size)):
                optimizer.zero_grad()
                _loss(network(inputs[batch], *graph), targets[batch], options).backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
            loss = _evaluate(network, graph, inputs[validation], targets[validation], options)
            if loss < best or not fit.early_stop.enabled:
                best, kept, best_epoch = loss, _arrays(network), epoch
            if fit.early_stop.enabled and epoch - best_epoch >= fit.early_stop.patience:
                break
    return Trained(kept, x.shape[2], x.shape[1], first, best, best_epoch)


def log_scale(trained: Trained, x: Float, options: CorelOptions) -> Float:
    """log of sigma'/(T_b sigma) that a fitted network predicts, (planet, bin); x as in `train`."""
    with repeatable(options.fit.seed), torch.no_grad():
        network, graph = _network(trained.covariates, trained.nodes, options)
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in trained.arrays.items()})
        network.eval()
        inputs = torch.from_numpy(x.astype(np.float32))
        out = torch.cat([network(part, *graph) for part in torch.split(inputs, 64)])
        if options.model.head == "quantile":
            quantiles = _quantiles(out)
            width = 0.5 * (quantiles[..., HIGH] - quantiles[..., LOW])
            # Gaussian quantiles at these two levels are 0.5 * (HIGH - LOW) apart by this much
            unit = 0.5 * float(ndtri(LEVELS[HIGH]) - ndtri(LEVELS[LOW]))
            return np.asarray(torch.log(torch.clamp(width / unit, min=1e-3)).double().numpy())
        return np.asarray(out[..., 0].clamp(-LIMIT, LIMIT).double().numpy())


def _network(covariates: int, nodes: int, options: CorelOptions) -> tuple[Network, tuple[Tensor, Tensor | None]]:
    """An untrained network and its graph; backend none: every channel is connected to itself alone."""
    wavelength = channel_wavelength(nodes)
    index = neighbours(wavelength, options.graph.k_proximity if options.model.backend == "gatconv" else 0)
    edges = torch.from_numpy(edge_attributes(wavelength, index).astype(np.float32)) if options.model.use_edge_features else None
    outputs = len(LEVELS) + 1 if options.model.head == "quantile" else 1
    network = Network(covariates, nodes, outputs, options.model, edges.shape[2] if edges is not None else 0)
    return network, (torch.from_numpy(index), edges)


def _quantiles(out: Tensor) -> Tensor:
    """Sorted quantiles at LEVELS: Gaussian ones stretched by output 0, plus one offset a level."""
    gaussian = torch.from_numpy(ndtri(LEVELS).astype(np.float32))
    return torch.sort(gaussian * torch.exp(out[..., :1].clamp(-LIMIT, LIMIT)) + out[..., 1:], dim=-1).values


def _loss(out: Tensor, z: Tensor, options: CorelOptions) -> Tensor:
    if options.model.head == "quantile":
        error = z[..., None] - _quantiles(out)
        level = torch.from_numpy(LEVELS.astype(np.float32))
        return torch.maximum(level * error, (level - 1.0) * error).mean()
    g = out[..., 0].clamp(-LIMIT, LIMIT)
    return (g + 0.5 * z.square() * torch.exp(-2.0 * g)).mean()


def _evaluate(network: Network, graph: tuple[Tensor, Tensor | None], x: Tensor, z: Tensor, options: CorelOptions) -> float:
    network.eval()
    with torch.no_grad():
        return float(_loss(network(x, *graph), z, options))


def _arrays(network: Network) -> dict[str, NDArray[np.float32]]:
    return {name: value.detach().numpy().copy() for name, value in network.state_dict().items()}

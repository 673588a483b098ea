"""The linear algebra of the joint fit of depths: a block's curves and their slopes, and the elimination of its baseline."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from v50calib.kernels.arrays import Float, Index
from v50calib.kernels.transit import Model, Shape, radius_ratio

#: finite-difference steps of t0 [h], a/R* (relative), b, u
STEP_T0, STEP_A, STEP_B, STEP_U = 1e-3, 2e-3, 2e-3, 5e-3
#: depths at which the model is evaluated; a channel beyond them is reached by the Taylor step from its node
DEPTH_RANGE = (2e-5, 0.25)
#: a channel's depth is this near to its node's, relative to it, as far as spectra go
NEAR = 0.1
#: a node's depth is within this factor of the median of all channels: beyond it is noise, which would move the shape at each step
NODE_SPREAD = 2.0


@dataclass(frozen=True)
class Reduced:
    """A block with its baseline eliminated: products of the depth's column g, the shared columns G and the residual r."""

    gg: Float
    gs: Float
    gr: Float
    ss: Float
    sr: Float
    index: Index
    solve: tuple[Float, Float, Float, Float]
    residual: Float


def root_of(covariance: Float) -> Float:
    """The lower triangular factor R of a covariance, R Rᵀ; unlike eigenvectors it has one sign."""
    unit = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    scaled = covariance / np.outer(unit, unit)
    return np.asarray(unit[:, None] * np.linalg.cholesky(0.5 * (scaled + scaled.T) + 1e-10 * np.eye(len(unit))))


def eliminate(
    columns: Float, g: Float, shared: Float, residual: Float, index: Index, ridge: Float | None = None, local: Float | None = None
) -> Reduced:  # fmt: skip
    """Eliminate the baseline's columns (channel, n, terms) from g (channel, n), shared (channel, n, 6) and the residual (channel, n).

    ridge (terms,): inverse variance of the prior, about 0, on the terms' coefficients, which stand at local (channel, terms).
    """
    transposed = np.swapaxes(columns, 1, 2)
    scale = np.sqrt(np.square(columns).sum(axis=1))
    absent = scale == 0
    scale[absent] = 1.0
    normal = transposed @ columns / (scale[:, :, None] * scale[:, None, :])
    each = np.arange(scale.shape[1])
    # a term that does not vary has no say: its coefficient stays 0
    normal[:, each, each] += np.where(absent, 1.0, 1e-12)
    if ridge is not None:
        normal[:, each, each] += ridge / scale**2
    inverse = np.linalg.inv(normal) / (scale[:, :, None] * scale[:, None, :])
    cross_g = (transposed @ g[..., None])[..., 0]
    cross_s = transposed @ shared
    right = (transposed @ residual[..., None])[..., 0]
    if ridge is not None and local is not None:
        right = right - ridge * local
    inv_g = np.einsum("cij,cj->ci", inverse, cross_g)
    inv_s = inverse @ cross_s
    gg = np.square(g).sum(axis=1) - (cross_g * inv_g).sum(axis=1)
    gs = (g[:, None, :] @ shared)[:, 0] - np.einsum("ci,cis->cs", cross_g, inv_s)
    gr = (g * residual).sum(axis=1) - (right * inv_g).sum(axis=1)
    ss = np.swapaxes(shared, 1, 2) @ shared - np.swapaxes(cross_s, 1, 2) @ inv_s
    sr = (np.swapaxes(shared, 1, 2) @ residual[..., None])[..., 0] - np.einsum("cis,ci->cs", inv_s, right)
    return Reduced(np.maximum(gg, 0.0), gs, gr, ss, sr, index, (inverse, cross_g, cross_s, right), residual)


def _at_node(shape: Shape, theta: Float, darkening: Float, node: float, depth: float) -> Shape:
    """Shape at one node: the block's parameters (t0, a, b, u1, slope, u2) applied to `shape`, limb darkening held physical."""
    u1, u2 = darkening[0] + theta[3] + theta[4] * node, darkening[1] + theta[5]
    total = min(max(u1 + u2, 0.0), 1.0)
    u1 = min(max(u1, 0.0), 2.0 * total)
    b = min(abs(float(theta[2])), 0.99 * float(theta[1]))
    return replace(shape, t0=float(theta[0]), a=float(theta[1]), b=b, k=radius_ratio(depth), u1=float(u1), u2=float(total - u1))


def _node_depths(depth: Float, nearest: Index, n: int) -> Float:
    """Depth at which the shape is evaluated at each node: the median of the channels nearest to it, within a factor of that of all."""
    whole = float(np.clip(np.median(depth), *DEPTH_RANGE))
    found = np.array([np.median(depth[nearest == j]) if (nearest == j).any() else whole for j in range(n)])
    return np.clip(found, max(whole / NODE_SPREAD, DEPTH_RANGE[0]), min(whole * NODE_SPREAD, DEPTH_RANGE[1]))


def slopes_of(model: Model, shape: Shape, theta: Float, depth: Float, nodes: Float, nearest: Index, darkening: Float) -> Float:
    """dT/dθ at the nodes, (6, n, nodes)."""
    columns, depths = [], _node_depths(depth, nearest, nodes.size)
    for j, s in enumerate(nodes):
        here = _at_node(shape, theta, darkening[:, j], s, float(depths[j]))
        middle = model(here)
        by_t0 = (model(replace(here, t0=here.t0 + STEP_T0)) - model(replace(here, t0=here.t0 - STEP_T0))) / (2 * STEP_T0)
        da = STEP_A * here.a
        by_a = (model(replace(here, a=here.a + da)) - middle) / da
        by_b = (model(replace(here, b=here.b + STEP_B)) - middle) / STEP_B
        by_u1 = (model(replace(here, u1=here.u1 + STEP_U)) - middle) / STEP_U
        by_u2 = (model(replace(here, u2=here.u2 + STEP_U)) - middle) / STEP_U
        columns.append(np.stack([by_t0, by_a, by_b, by_u1, s * by_u1, by_u2]))
    return np.stack(columns, axis=-1)


def interpolation(nodes: Float, at: Float) -> Float:
    """Linear interpolation from the nodes to each channel, (nodes, channel)."""
    left = np.clip(np.floor(at).astype(int), 0, max(nodes.size - 2, 0))
    share = np.clip(at - left, 0.0, 1.0)
    mix, channel = np.zeros((nodes.size, at.size)), np.arange(at.size)
    mix[left, channel] += 1.0 - share
    mix[np.minimum(left + 1, nodes.size - 1), channel] += share
    return mix


def shapes_of(
    model: Model, shape: Shape, theta: Float, depth: Float, nodes: Float, nearest: Index, darkening: Float, mix: Float
) -> tuple[Float, Float]:
    """Transit T and dT/dd, (n, channel): second-order Taylor steps in depth from the nodes, interpolated.

    Further than NEAR from its node a channel's depth is noise, not spectrum: the step goes on as a straight line, so that a depth with
    an error as large as itself scatters evenly, and its error does not depend on where it fell.
    """
    node_depth = _node_depths(depth, nearest, nodes.size)
    values, slopes, curves, near = [], [], [], NEAR * node_depth
    for j, s in enumerate(nodes):
        low, high = node_depth[j] - near[j], node_depth[j] + near[j]
        t_low, t_mid, t_high = (model(_at_node(shape, theta, darkening[:, j], s, d)) for d in (low, node_depth[j], high))
        values.append(t_mid)
        slopes.append((t_high - t_low) / (high - low))
        curves.append((t_high - 2 * t_mid + t_low) / near[j] ** 2)
    value, slope, curve = (np.stack(v, axis=1) for v in (values, slopes, curves))
    # offset in depth of each channel from each node, and the part of it that is near; the sum over nodes is a matrix product
    offset = depth - node_depth[:, None]
    bent = np.clip(offset, -near[:, None], near[:, None])
    return value @ mix + slope @ (mix * offset) + curve @ (mix * (offset - 0.5 * bent) * bent), slope @ mix + curve @ (mix * bent)

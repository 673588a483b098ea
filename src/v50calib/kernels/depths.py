"""Transit depth of every channel at once: shared orbit and limb darkening, own baseline and depth.

Gauss-Newton on ``y_c(t) = (1 + B(t)·c_c)·T(t; d_c, θ)`` with local parameters (c_c, d_c) and shared θ =
(t0, a/R*, b, and offset and slope in wavelength of u1, offset of u2). Local parameters are eliminated
channel by channel (Schur complement), so the error of a depth contains the error of the shape.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from v50calib.kernels.arrays import Float
from v50calib.kernels.transit import Model, Prior, Shape

#: wavelengths at which the transit shape is evaluated; between them it is interpolated linearly
NODES = 9
#: finite-difference steps of t0 [h], a/R* (relative), b, u, and depth (relative)
STEP_T0, STEP_A, STEP_B, STEP_U, STEP_D = 1e-3, 2e-3, 2e-3, 5e-3, 1e-2
ITERATIONS = 2
#: inverse variance of the prior on a parameter that is held
FIXED = 1e18
#: depths at which the model is evaluated; a channel beyond them is reached by the Taylor step from its node
DEPTH_RANGE = (2e-5, 0.25)
#: shallower than this, steps in depth are absolute and curvature is left out: both would be below the model's own error of 1e-8
SHALLOW = 1e-3


@dataclass(frozen=True)
class Depths:
    """Transit depth of each channel, and the shape that all channels share.

    depth, sigma (channel,): depth and its standard error, which contains the error of the shape; sigma_photon (channel,):
    the standard error if the shape were known exactly; chi2 (channel,): reduced chi².
    """

    depth: Float
    sigma: Float
    sigma_photon: Float
    chi2: Float
    shape: Shape


def fit_depths(
    time: Float, flux: Float, sigma: Float, width: float, design: Float, shape: Shape, prior: Prior, position: Float, darkening: Float,
    *, fix_t0: bool = False, additive: bool = False,
) -> Depths:  # fmt: skip
    """Depths of normalized light curves.

    time (n,), flux and sigma (n, channel): bins of `width` hours; design (n, terms) baseline deviations, its
    first column constant; position (channel,) in [-1, 1] along wavelength; darkening (2, channel) prior u1, u2.
    fix_t0 holds the mid-time; additive: the terms after the first do not dim with the star.
    A depth is free to be negative: a channel whose noise exceeds its depth must scatter evenly about it.

    >>> time, shape = np.linspace(0.0, 7.5, 150), Shape(t0=3.75, period=96.0, a=12.0, b=0.3, k=0.1, u1=0.1, u2=0.1)
    >>> flux, prior = Model(time, 0.05)(shape)[:, None], Prior(a=(12.0, 0.5), b=(0.3, 0.1), u1=(0.1, 0.05), u2=(0.1, 0.05))
    >>> start, ones, darkening = replace(shape, k=0.105), np.ones((150, 1)), np.full((2, 1), 0.1)
    >>> fit_depths(time, flux, 1e-4 * ones, 0.05, ones, start, prior, np.zeros(1), darkening).depth.round(5)  # k² = 0.01
    array([0.01])
    """
    model = Model(time, width)
    n_channels = flux.shape[1]
    nodes = np.linspace(-1.0, 1.0, NODES if n_channels > NODES else 1) if n_channels > 1 else np.zeros(1)
    node_index = np.zeros(n_channels) if nodes.size == 1 else (position + 1.0) / 2.0 * (NODES - 1)
    at_node = np.stack([np.interp(nodes, np.sort(position), d[np.argsort(position)]) for d in darkening])
    depth = np.full(n_channels, shape.k**2)
    theta = np.array([shape.t0, shape.a, shape.b, 0.0, 0.0, 0.0])
    centre = np.array([shape.t0, prior.a[0], prior.b[0], 0.0, 0.0, 0.0])
    inverse = 1.0 / np.array([np.inf, prior.a[1], prior.b[1], prior.u1[1], prior.u1[1], prior.u2[1]]) ** 2
    if n_channels == 1:
        inverse[4] = FIXED
    if fix_t0:
        inverse[0] = FIXED
    local = np.zeros((n_channels, design.shape[1]))
    mix = _interpolation(nodes, node_index)
    by_theta = np.moveaxis(_slopes(model, shape, theta, nodes, at_node) @ mix, 0, 1)
    for _ in range(ITERATIONS):
        base, by_depth = _shapes(model, shape, theta, depth, nodes, node_index, at_node, mix)
        step_local, step_theta, cov, chi2 = _solve(
            flux, sigma, design, base, by_depth, by_theta, local, inverse, (centre - theta) * inverse, additive
        )
        local = local + step_local[:, :-1]
        depth = np.minimum(depth + step_local[:, -1], DEPTH_RANGE[1])
        theta = theta + np.clip(step_theta, -np.array([0.2, 2, 0.3, 0.3, 0.3, 0.3]), np.array([0.2, 2, 0.3, 0.3, 0.3, 0.3]))
        theta[1] = max(theta[1], 1.05)
    final = replace(shape, t0=float(theta[0]), a=float(theta[1]), b=float(abs(theta[2])))
    return Depths(depth, np.sqrt(cov[0]), np.sqrt(cov[1]), chi2 / max(len(time) - design.shape[1] - 1, 1), final)


def _at_node(shape: Shape, theta: Float, darkening: Float, node: float, depth: float) -> Shape:
    """Shape at one node: the shared parameters applied to `shape`, its limb darkening and depth."""
    u1, u2 = darkening[0] + theta[3] + theta[4] * node, darkening[1] + theta[5]
    return replace(shape, t0=theta[0], a=theta[1], b=abs(theta[2]), k=float(np.sqrt(depth)), u1=float(u1), u2=float(u2))


def _slopes(model: Model, shape: Shape, theta: Float, nodes: Float, darkening: Float) -> Float:
    """dT/dθ at the nodes, (6, n, nodes), at the starting shape: they only steer the steps and the covariance."""
    columns = []
    for j, s in enumerate(nodes):
        here = _at_node(shape, theta, darkening[:, j], s, shape.k**2)
        middle = model(here)
        by_t0 = (model(replace(here, t0=here.t0 + STEP_T0)) - model(replace(here, t0=here.t0 - STEP_T0))) / (2 * STEP_T0)
        da = STEP_A * here.a
        by_a = (model(replace(here, a=here.a + da)) - middle) / da
        by_b = (model(replace(here, b=here.b + STEP_B)) - middle) / STEP_B
        by_u1 = (model(replace(here, u1=here.u1 + STEP_U)) - middle) / STEP_U
        by_u2 = (model(replace(here, u2=here.u2 + STEP_U)) - middle) / STEP_U
        columns.append(np.stack([by_t0, by_a, by_b, by_u1, s * by_u1, by_u2]))
    return np.stack(columns, axis=-1)


def _interpolation(nodes: Float, node_index: Float) -> Float:
    """Linear interpolation from the nodes to each channel, (nodes, channel); node_index (channel,) is fractional."""
    left = np.clip(np.floor(node_index).astype(int), 0, max(nodes.size - 2, 0))
    share = np.clip(node_index - left, 0.0, 1.0)
    mix, channel = np.zeros((nodes.size, node_index.size)), np.arange(node_index.size)
    mix[left, channel] += 1.0 - share
    mix[np.minimum(left + 1, nodes.size - 1), channel] += share
    return mix


def _shapes(
    model: Model, shape: Shape, theta: Float, depth: Float, nodes: Float, node_index: Float, darkening: Float, mix: Float
) -> tuple[Float, Float]:
    """Transit T and dT/dd, (n, channel): second-order Taylor steps in depth from the nodes, interpolated."""
    nearest = np.clip(np.round(node_index).astype(int), 0, nodes.size - 1)
    node_depth = np.array([np.median(depth[nearest == j]) if (nearest == j).any() else np.median(depth) for j in range(nodes.size)])
    node_depth = np.clip(node_depth, *DEPTH_RANGE)
    values, slopes, curves = [], [], []
    for j, s in enumerate(nodes):
        step = max(STEP_D * node_depth[j], min(STEP_D * SHALLOW, 0.5 * node_depth[j]))
        low, high = node_depth[j] - step, node_depth[j] + step
        t_low, t_mid, t_high = (model(_at_node(shape, theta, darkening[:, j], s, d)) for d in (low, node_depth[j], high))
        values.append(t_mid)
        slopes.append((t_high - t_low) / (high - low))
        curves.append((t_high - 2 * t_mid + t_low) / step**2 * (node_depth[j] >= SHALLOW))
    value, slope, curve = (np.stack(v, axis=1) for v in (values, slopes, curves))
    # offset in depth of each channel from each node; the sum over nodes is a matrix product
    offset = depth - node_depth[:, None]
    first, second = mix * offset, mix * offset**2
    return value @ mix + slope @ first + 0.5 * (curve @ second), slope @ mix + curve @ first


def _solve(
    flux: Float,
    sigma: Float,
    design: Float,
    base: Float,
    by_depth: Float,
    by_theta: Float,
    local: Float,
    inverse: Float,
    pull: Float,
    additive: bool,
) -> tuple[Float, Float, tuple[Float, Float], Float]:
    """One Gauss-Newton step: local (channel, terms + 1), shared (6,), depth variances (full, shape known), chi² after it."""
    if additive:
        level, terms = 1.0 + design[:, :1] @ local[:, :1].T, np.repeat(design[:, :, None], flux.shape[1], axis=2)
        terms[:, 0] *= base
        residual = (flux - level * base - design[:, 1:] @ local[:, 1:].T) / sigma
    else:
        level, terms = 1.0 + design @ local.T, design[:, :, None] * base[:, None, :]
        residual = (flux - level * base) / sigma
    columns = np.concatenate([terms, (level * by_depth)[:, None, :]], axis=1) / sigma[:, None, :]
    shared = level[:, None, :] * by_theta / sigma[:, None, :]
    columns, shared, residual = (np.ascontiguousarray(np.moveaxis(v, -1, 0)) for v in (columns, shared, residual))
    transposed = np.swapaxes(columns, 1, 2)
    scale = np.sqrt((columns**2).sum(axis=1))
    absent = scale == 0
    scale[absent] = 1.0
    normal = transposed @ columns / (scale[:, :, None] * scale[:, None, :])
    # a term that does not vary keeps the coefficient 0
    each = np.arange(scale.shape[1])
    normal[:, each, each] += np.where(absent, 1.0, 1e-12)
    normal_inv = np.linalg.inv(normal) / (scale[:, :, None] * scale[:, None, :])
    cross = transposed @ shared
    right = (transposed @ residual[..., None])[..., 0]
    eliminated = normal_inv @ cross
    schur = (np.swapaxes(shared, 1, 2) @ shared - np.swapaxes(cross, 1, 2) @ eliminated).sum(axis=0) + np.diag(inverse)
    rhs = (np.einsum("cts,ct->cs", shared, residual) - np.einsum("cls,cl->cs", eliminated, right)).sum(axis=0) + pull
    unit = np.sqrt(np.diag(schur))
    unit[unit == 0] = 1.0
    shared_cov = np.linalg.pinv(schur / np.outer(unit, unit), hermitian=True) / np.outer(unit, unit)
    step_shared = shared_cov @ rhs
    step_local = np.einsum("cij,cj->ci", normal_inv, right) - np.einsum("cls,s->cl", eliminated, step_shared)
    known = normal_inv[:, -1, -1]
    full = known + np.einsum("cs,st,ct->c", eliminated[:, -1], shared_cov, eliminated[:, -1])
    left = residual - np.einsum("ctl,cl->ct", columns, step_local) - shared @ step_shared
    return step_local, step_shared, (full, known), np.square(left).sum(axis=1)

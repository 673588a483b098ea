"""The linear algebra of the joint fit of depths: a block's curves and their slopes, and the elimination of its baseline."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from v50calib.kernels.arrays import Float, Index
from v50calib.kernels.blocks import Band
from v50calib.kernels.products import product
from v50calib.kernels.transit import Model, Shape, radius_ratio

#: wavelengths at which the transit shape is evaluated; between them it is interpolated linearly
NODES = 9
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
    """A block with its baseline eliminated: products of the depth's column g, the shared columns G and the residual r.

    gg, gr (channel,) and gs (channel, 6); of what no channel has alone the sums over channels, ss (6, 6) and sr (6,); solved
    (channel, terms, 8): the baseline's terms that make each of the shared columns, g and the residual; residual (n, channel);
    whole (6,): the diagonal of ss before anything was eliminated from it.
    """

    gg: Float
    gs: Float
    gr: Float
    ss: Float
    sr: Float
    index: Index
    solved: Float
    residual: Float
    whole: Float


class Columns:
    """The baseline's columns of every channel: terms (n, k) times a weight (n, channel), another one for the first term where that alone
    dims with the star.

    Columns of one channel are never made: their products are those of the terms, summed over time with the weights.

    >>> columns = Columns(np.ones((4, 1)), np.full((4, 2), 2.0), np.full((4, 2), 2.0))
    >>> columns.normal().ravel(), columns.dot(np.ones((4, 2))).ravel()
    (array([16., 16.]), array([8., 8.]))
    """

    def __init__(self, terms: Float, first: Float, others: Float) -> None:
        self._terms, self._first, self._others = terms, first, others

    def normal(self) -> Float:
        """Products of the columns with each other, (channel, k, k)."""
        k = self._terms.shape[1]
        i, j = np.triu_indices(k)
        products = self._terms[:, i] * self._terms[:, j]
        flat = product(products.T, np.square(self._others))
        if self._first is not self._others:
            flat[:k] = product(products[:, :k].T, self._first * self._others)
            flat[0] = products[:, 0] @ np.square(self._first)
        out = np.empty((flat.shape[1], k, k))
        out[:, i, j] = flat.T
        out[:, j, i] = flat.T
        return out

    def dot(self, values: Float) -> Float:
        """Products of the columns with values (n, channel), (channel, k)."""
        out = product(self._terms.T, self._others * values).T
        if self._first is not self._others:
            out[:, 0] = self._terms[:, 0] @ (self._first * values)
        return np.asarray(out)


def root_of(covariance: Float) -> Float:
    """The lower triangular factor R of a covariance, R Rᵀ; unlike eigenvectors it has one sign."""
    unit = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    scaled = covariance / np.outer(unit, unit)
    return np.asarray(unit[:, None] * np.linalg.cholesky(0.5 * (scaled + scaled.T) + 1e-10 * np.eye(len(unit))))


@dataclass(frozen=True)
class Drift:
    """Coefficients of baseline terms that a block's channels have in common: their courses along wavelength, (channel, courses), and
    which terms they are of."""

    course: Float
    terms: Index

    def coefficients(self, theta: Float) -> Float:
        """(channel, terms) of the parameters (terms · courses,), a term's courses beside each other."""
        return self.course @ theta.reshape(self.terms.size, self.course.shape[1]).T


def eliminate(
    columns: Columns, g: Float, shared: Float, residual: Float, index: Index, ridge: Float | None = None, local: Float | None = None,
    drift: Drift | None = None,
) -> Reduced:  # fmt: skip
    """Eliminate the baseline's columns from g (n, channel), shared (6, n, channel) and the residual (n, channel).

    ridge (terms,): inverse variance of the prior, about 0, on the terms' coefficients, which stand at local (channel, terms).
    drift: terms' coefficients that are shared as well; they are further shared columns, after the others.
    """
    normal = columns.normal()
    plain = normal.copy() if drift is not None else normal
    each = np.arange(normal.shape[1])
    scale = np.sqrt(normal[:, each, each])
    absent = scale == 0
    scale[absent] = 1.0
    normal /= scale[:, :, None] * scale[:, None, :]
    # a term that does not vary has no say: its coefficient stays 0
    normal[:, each, each] += np.where(absent, 1.0, 1e-12)
    if ridge is not None:
        normal[:, each, each] += ridge / scale**2
    # (channel, terms, columns): of the shared columns, g and the residual
    cross = np.stack([columns.dot(values) for values in (*shared, g, residual)], axis=2)
    # sums over all samples go time by time: one long product is split among BLAS threads, and their number would be in the digits
    by_time = np.moveaxis(shared, 1, 0)
    gs, ss = np.einsum("snc,nc->cs", shared, g), (by_time @ np.swapaxes(by_time, 1, 2)).sum(axis=0)
    sr = (by_time @ residual[:, :, None])[..., 0].sum(axis=0)
    if drift is not None:
        cross, gs, ss, sr = _with_drift(drift, plain, cross, (gs, ss, sr))
    whole = np.diag(ss).copy()
    if ridge is not None and local is not None:
        cross[:, :, -1] -= ridge * local
    solved = np.linalg.solve(normal, cross / scale[:, :, None]) / scale[:, :, None]
    cross_s, inv_s, inv_g = cross[:, :, :-2], solved[:, :, :-2], solved[:, :, -2]
    gg = np.square(g).sum(axis=0) - (cross[:, :, -2] * inv_g).sum(axis=1)
    gs = gs - (inv_g[:, None, :] @ cross_s)[:, 0]
    gr = (g * residual).sum(axis=0) - (cross[:, :, -1] * inv_g).sum(axis=1)
    own = (np.swapaxes(inv_s, 1, 2) @ cross).sum(axis=0)
    ss, sr = ss - own[:, :-2], sr - own[:, -1]
    return Reduced(np.maximum(gg, 0.0), gs, gr, 0.5 * (ss + ss.T), sr, index, solved, residual, whole)


def _with_drift(drift: Drift, normal: Float, cross: Float, products: tuple[Float, Float, Float]) -> tuple[Float, Float, Float, Float]:
    """cross, gs, ss and sr with the drift's columns behind the shared ones. They are columns of the baseline times a course along
    wavelength, so their products are known."""
    gs, ss, sr = products
    terms, courses = np.repeat(drift.terms, drift.course.shape[1]), np.tile(drift.course, drift.terms.size)
    own = normal[:, :, terms] * courses[:, None, :]
    mixed = np.einsum("cjs,cj->sj", cross[:, terms, :], courses)
    among = np.einsum("ci,cij->ij", courses, own[:, terms, :])
    gs = np.concatenate([gs, cross[:, terms, -2] * courses], axis=1)
    ss = np.block([[ss, mixed[:-2]], [mixed[:-2].T, among]])
    return np.concatenate([cross[:, :, :-2], own, cross[:, :, -2:]], axis=2), gs, ss, np.concatenate([sr, mixed[-1]])


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


def interpolation(nodes: Float, at: Float) -> Float:
    """Linear interpolation from the nodes to each channel, (nodes, channel)."""
    left = np.clip(np.floor(at).astype(int), 0, max(nodes.size - 2, 0))
    share = np.clip(at - left, 0.0, 1.0)
    mix, channel = np.zeros((nodes.size, at.size)), np.arange(at.size)
    mix[left, channel] += 1.0 - share
    mix[np.minimum(left + 1, nodes.size - 1), channel] += share
    return mix


@dataclass(frozen=True)
class Nodes:
    """Where along wavelength a band's shapes are evaluated: positions (nodes,) in [-1, 1]; darkening (2, nodes) there; mix (nodes, channel)
    of the interpolation; nearest (channel,) node."""

    position: Float
    darkening: Float
    mix: Float
    nearest: Index


def nodes_of(band: Band) -> Nodes:
    """The nodes of a band's channels; of one channel a single one.

    >>> one = nodes_of(Band(np.zeros(1), np.array([[0.3], [0.2]]), 0.1, 0.1))
    >>> one.position, one.darkening.ravel(), one.mix
    (array([0.]), array([0.3, 0.2]), array([[1.]]))
    """
    n = band.position.size
    position = np.linspace(-1.0, 1.0, NODES if n > NODES else 1) if n > 1 else np.zeros(1)
    at = np.zeros(n) if position.size == 1 else (band.position + 1.0) / 2.0 * (NODES - 1)
    order = np.argsort(band.position)
    darkening = np.stack([np.interp(position, band.position[order], d[order]) for d in band.darkening])
    return Nodes(position, darkening, interpolation(position, at), np.clip(np.round(at).astype(int), 0, position.size - 1))


@dataclass(frozen=True)
class Curves:
    """Transit T and dT/dd of every channel, (n, channel); the shapes at the nodes and their curves (n, nodes)."""

    base: Float
    by_depth: Float
    shapes: list[Shape]
    at_nodes: Float


def _curves(model: Model, shapes: list[Shape]) -> Float:
    return np.stack([model(one) for one in shapes], axis=1)


def curves_of(model: Model, shape: Shape, theta: Float, depth: Float, nodes: Nodes) -> Curves:
    """Transit T and dT/dd: second-order Taylor steps in depth from the nodes, interpolated. theta: t0, a, b, u1, slope of u1, u2.

    Further than NEAR from its node a channel's depth is noise, not spectrum: the step goes on as a straight line, so that a depth with
    an error as large as itself scatters evenly, and its error does not depend on where it fell.
    """
    node_depth = _node_depths(depth, nodes.nearest, nodes.position.size)
    near = NEAR * node_depth
    low, high = node_depth - near, node_depth + near

    def at(depths: Float) -> list[Shape]:
        return [_at_node(shape, theta, nodes.darkening[:, j], s, float(depths[j])) for j, s in enumerate(nodes.position)]

    mix, here = nodes.mix, at(node_depth)
    t_low, value, t_high = _curves(model, at(low)), _curves(model, here), _curves(model, at(high))
    slope = (t_high - t_low) / (high - low)
    curve = (t_high - 2 * value + t_low) / near**2
    # offset in depth of each channel from each node, and the part of it that is near; the sum over nodes is a matrix product
    offset = depth - node_depth[:, None]
    bent = np.clip(offset, -near[:, None], near[:, None])
    base = product(value, mix) + product(slope, mix * offset) + product(curve, mix * (offset - 0.5 * bent) * bent)
    return Curves(base, product(slope, mix) + product(curve, mix * bent), here, value)


def slopes_into(out: Float, model: Model, curves: Curves, nodes: Nodes) -> None:
    """dT/dθ of every channel, interpolated from the nodes, into `out` (6, n, channel).

    Shapes that differ in limb darkening alone are asked for first: the model knows the planet's course from `curves_of`.
    """
    here, value = curves.shapes, curves.at_nodes
    by_u1 = (_curves(model, [replace(one, u1=one.u1 + STEP_U) for one in here]) - value) / STEP_U
    by_u2 = (_curves(model, [replace(one, u2=one.u2 + STEP_U) for one in here]) - value) / STEP_U
    later, earlier = (_curves(model, [replace(one, t0=one.t0 + sign * STEP_T0) for one in here]) for sign in (1.0, -1.0))
    da = STEP_A * here[0].a
    by_a = (_curves(model, [replace(one, a=one.a + da) for one in here]) - value) / da
    by_b = (_curves(model, [replace(one, b=one.b + STEP_B) for one in here]) - value) / STEP_B
    for slope, by_channel in zip(((later - earlier) / (2 * STEP_T0), by_a, by_b, by_u1, nodes.position * by_u1, by_u2), out, strict=True):
        product(slope, nodes.mix, by_channel)

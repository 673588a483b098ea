"""Flat: divide by the pixel response."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from v50calib.array_files import load_array
from v50calib.dq import DQ
from v50calib.errors import ConfigError, DataError
from v50calib.kernels.arrays import Float
from v50calib.kernels.pixelwise import inverse_flat
from v50calib.kernels.repair import fill_pixels
from v50calib.kernels.surface import large_scale, poly2d_design
from v50calib.stages.base import PlainStage
from v50calib.stages.flat.config import FlatConfig
from v50calib.stages.tile import PixelPolynomial, Tile, VisitState

#: a flat whose median is further from 1 than by this factor is in other units
FLAT_FACTOR = 5.0


@dataclass(frozen=True)
class FlatConstants:
    """inverse (ny, nx) 1/flat; of the illumination fit per frame: design (ny·nx, terms), solver (terms, sky pixels), their flat indices."""

    inverse: Float
    design: Float | None = None
    solver: Float | None = None
    sky: NDArray[np.int64] | None = None


class Flat(PlainStage[FlatConfig]):
    """dark_corrected (time, y, x) [e-] -> flat_corrected (time, y, x) [e-]: division by the flat.

    The flat is the dataset's (Ariel Data Challenge), or made of the config's master and spectral flats.

    Variances: divided by its square; the flat's own error is common to all times and stays out of light-curve scatter.
    Flags: NO_FLAT_FIELD|DO_NOT_USE where the flat is not finite, <= epsilon or outside the valid mask (1 is used, and the pixel
    leaves every sum); UNRELIABLE_FLAT where a gain 1/flat outside clamp_gain is held at its limit.
    Raises ConfigError and DataError for maps that do not fit the detector, are in other units, or leave too few pixels for a surface.
    """

    name: ClassVar[str] = "flat"
    input_key: ClassVar[str] = "dark_corrected"
    output_key: ClassVar[str] = "flat_corrected"
    file_keys: ClassVar[tuple[str, ...]] = (
        "flat_model.valid_mask_path",
        "master.path",
        "spectral.path",
        "illumination_correction.mask_path",
    )

    def prepare(self, state: VisitState) -> FlatConstants:
        inverse = self._inverse(state) if self.config.flat_model.method != "none" else np.ones(state.shape)
        state.inverse_flat = inverse
        state.dark_rate = state.dark_rate * inverse
        constants = self._illumination(state, FlatConstants(inverse))
        if constants.design is not None:
            state.folded = None
        elif state.folded is not None:
            state.folded = PixelPolynomial(state.folded.coef * inverse, state.folded.rate * inverse)
        return constants

    def _inverse(self, state: VisitState) -> Float:
        cfg = self.config.flat_model
        flat = self._flat(state)
        if state.repaired.any():
            # a filled pixel is made of its neighbours' counts, so their response is its own
            flat = fill_pixels(flat[None], state.repaired | state.masked, "median8")[0]
        if cfg.valid_mask_path is not None:
            valid = self.config.validation.user_map(cfg.valid_mask_path, "calib.flat.flat_model.valid_mask_path", state.shape) != 0
            flat = np.where(valid, flat, np.nan)
        if cfg.renormalize_to_mean_one:
            good = np.isfinite(flat) & (flat > cfg.epsilon) & ~state.masked
            if not good.any():
                raise DataError("calib.flat.flat_model.renormalize_to_mean_one: no pixel of the flat is usable; check the map and epsilon")
            flat = flat / flat[good].mean()
        self._refuse_other_units(flat, state)
        inverse, bad = inverse_flat(flat, cfg.epsilon)
        state.flag(bad, DQ.NO_FLAT_FIELD | DQ.DO_NOT_USE)
        state.masked |= bad
        low, high = cfg.clamp_gain.min_gain or 0.0, cfg.clamp_gain.max_gain or np.inf
        clamped = ~bad & ((inverse < low) | (inverse > high))
        state.flag(clamped, DQ.UNRELIABLE_FLAT)
        return np.where(clamped, np.clip(inverse, low, high), inverse)

    def _refuse_other_units(self, flat: Float, state: VisitState) -> None:
        """A flat is a response about 1. In other units it would scale the electrons, and with them every noise that weighs them."""
        good = np.isfinite(flat) & (flat > self.config.flat_model.epsilon) & ~state.masked
        usual = float(np.median(flat[good])) if good.any() else 1.0
        if not 1.0 / FLAT_FACTOR < usual < FLAT_FACTOR:
            raise DataError(
                f"the flat's usual value is {usual:.3g}, about 1 is expected: it is no relative response; normalize the map, "
                "or set calib.flat.flat_model.renormalize_to_mean_one=true"
            )

    def _flat(self, state: VisitState) -> Float:
        """The response map by the method; unusable where not finite."""
        responses = {
            "auto": [self._of_dataset],
            "master": [self._master],
            "spectral": [self._spectral],
            "hybrid": [self._master, self._spectral],
        }
        out = np.ones(state.shape)
        for response in responses[self.config.flat_model.method]:
            out *= response(state)
        return out

    def _of_dataset(self, state: VisitState) -> Float:
        return self.config.validation.dataset_map(state.reference.flat, "flat")

    def _master(self, state: VisitState) -> Float:
        """The user's master flat, its large-scale illumination divided out where asked for."""
        master = self.config.validation.user_map(str(self.config.master.path), "calib.flat.master.path", state.shape)
        cfg = self.config.master.illumination_normalization
        if not cfg.enabled:
            return master
        good = np.isfinite(master) & (master > self.config.flat_model.epsilon) & ~state.masked
        scale = {"poly2d": float(cfg.degree), "spline2d": float(cfg.knots), "gaussian": cfg.sigma_px}[cfg.method]
        if good.sum() < 64:
            raise DataError(
                f"calib.flat.master.path: only {int(good.sum())} usable pixels, too few for an illumination surface; check the map"
            )
        surface = large_scale(
            master, good, method=cfg.method, scale=scale, sigma_clip=cfg.robust.sigma_clip, max_iters=cfg.robust.max_iters
        )
        if not (surface[good] > 0).all():
            raise DataError(
                "calib.flat.master.illumination_normalization: the fitted surface is not positive everywhere; lower its degree or knots"
            )
        return master / np.where(surface > 0, surface, np.nan)

    def _spectral(self, state: VisitState) -> Float:
        """Response per detector column (1, nx) from the user's list of channels; or a full map (ny, nx)."""
        cfg, nx = self.config.spectral, state.shape[1]
        values = load_array(str(cfg.path), key="calib.flat.spectral.path").astype(np.float64)
        if cfg.channel_remap is not None:
            remap = np.asarray(cfg.channel_remap)
            if len(remap) != nx or remap.min() < 0 or remap.max() >= values.shape[-1]:
                raise ConfigError(
                    f"calib.flat.spectral.channel_remap has {len(remap)} entries from {remap.min()} to {remap.max()}: it needs one for "
                    f"each of the {nx} columns, an index below {values.shape[-1]}"
                )
            values = values[..., remap]
        if values.shape not in ((nx,), (1, nx), state.shape):
            raise DataError(
                f"calib.flat.spectral.path='{cfg.path}' has the shape {values.shape}: a spectral flat has one value for each of {nx} "
                f"columns, or the detector's shape {state.shape}; channel_remap assigns channels to columns"
            )
        if not np.isfinite(values).all() and (self.config.validation.require_finite_inputs or cfg.spectral_smoothing > 1):
            raise DataError(
                f"calib.flat.spectral.path='{cfg.path}' is not finite everywhere, and smoothing it or validation.require_finite_inputs "
                "needs that: repair the file"
            )
        values = np.atleast_2d(values)
        if cfg.spectral_smoothing > 1:
            values = uniform_filter1d(values, cfg.spectral_smoothing, axis=1, mode="nearest")
        if cfg.per_channel_norm and len(values) > 1:
            return values / values.mean(axis=0, keepdims=True)
        return values / values.mean() if cfg.per_channel_norm else values

    def _illumination(self, state: VisitState, constants: FlatConstants) -> FlatConstants:
        """What the fit of each frame's illumination needs; nothing where it is off."""
        cfg = self.config.illumination_correction
        if not cfg.enabled:
            return constants
        marked = self.config.validation.user_map(str(cfg.mask_path), "calib.flat.illumination_correction.mask_path", state.shape)
        sky = (marked != 0) & ~state.masked
        design = poly2d_design(state.shape, cfg.degree)
        if sky.sum() < 4 * design.shape[1]:
            raise DataError(
                f"calib.flat.illumination_correction.mask_path leaves {int(sky.sum())} good pixels for {design.shape[1]} terms: "
                f"mark at least {4 * design.shape[1]} pixels without the source"
            )
        state.notes.append(
            "flat.illumination_correction divides every frame by a surface fitted to its own pixels: starlight among them is flattened "
            f"away with the transit, and frames with a level below min_level_e={cfg.min_level_e} are left as they are"
        )
        pixels = np.flatnonzero(sky.ravel())
        return replace(constants, design=design, solver=np.asarray(np.linalg.pinv(design[pixels]), dtype=np.float64), sky=pixels)

    def apply(self, tile: Tile, constants: FlatConstants) -> Tile:
        c = constants
        factor = c.inverse if c.design is None else c.inverse / self._surfaces(tile.values * c.inverse, c)
        out = replace(tile, values=tile.values * factor)
        if tile.variance:
            square = factor**2
            out = replace(out, var_poisson=tile.var_poisson * square, var_rnoise=tile.var_rnoise * square)
        return out

    def _surfaces(self, frames: Float, c: FlatConstants) -> Float:
        """Illumination (n, ny, nx) of each frame over its own mean; 1 where the frame is too faint for a fit."""
        assert c.design is not None
        assert c.solver is not None
        n, ny, nx = frames.shape
        coef = frames.reshape(n, -1)[:, c.sky] @ c.solver.T
        # the constant Legendre term is the surface's mean over the detector
        level = coef[:, :1]
        bright = level >= self.config.illumination_correction.min_level_e
        surface = (coef @ c.design.T) / np.where(bright, level, 1.0)
        usable = bright & (surface > 0.1).all(axis=1, keepdims=True)
        return np.where(usable, surface, 1.0).reshape(n, ny, nx)

    def inspect(self, tiles: list[Tile], constants: FlatConstants, state: VisitState) -> tuple[dict[str, Any], list[str]]:
        unusable = float((state.pixel_dq & np.uint32(DQ.NO_FLAT_FIELD)).astype(bool).mean())
        limit = self.config.quality_checks.max_unusable_fraction
        fault = f"{unusable:.2%} of the pixels have no usable flat, more than calib.flat.quality_checks.max_unusable_fraction={limit}"
        return {"unusable_fraction": unusable, "mean_gain": float(constants.inverse.mean())}, [fault] if unusable > limit else []

"""Choices of several frame stages that make no physical sense together, refused by name before any frame is read."""

from __future__ import annotations

from v50calib.errors import ConfigError
from v50calib.stages.adc.config import AdcConfig
from v50calib.stages.cds.config import CdsConfig
from v50calib.stages.dark.config import DarkConfig
from v50calib.stages.dark.cosmic_rays import require_astroscrappy
from v50calib.stages.nonlinearity.config import NonlinearityConfig


def refuse_senseless(adc: AdcConfig, nonlinearity: NonlinearityConfig, dark: DarkConfig, cds: CdsConfig, *, photometry: bool) -> None:
    """Raises ConfigError naming both keys and the way out."""
    linearizes = nonlinearity.enabled and nonlinearity.method != "none"
    if adc.linearization.method != "none" and linearizes:
        raise ConfigError(
            f"calib.adc.linearization.method={adc.linearization.method} and calib.nonlinearity.method={nonlinearity.method} both "
            "correct the "
            "detector's response: set calib.nonlinearity.enabled=false or calib.adc.linearization.method=none"
        )
    if adc.units_out == "ADU":
        _refuse_adu(linearizes, dark, photometry=photometry)
    if cds.normalization.method != "none" and photometry:
        raise ConfigError(
            f"calib.cds.normalization.method={cds.normalization.method} leaves no electrons, and photometry's noise model needs them: set "
            "calib.photometry.enabled=false calib.trace.enabled=false calib.phase.enabled=false, or normalization.method=none "
            "(trace normalizes light curves)"
        )
    if dark.enabled and dark.cosmic_rays.enabled and dark.cosmic_rays.detector == "astroscrappy":
        require_astroscrappy()


def frame_units(adc: AdcConfig, cds: CdsConfig) -> str:
    """Units of the CDS frames of a config."""
    if cds.normalization.method == "mad":
        return "sigma"
    if cds.normalization.method != "none":
        return "1"
    return "ADU" if adc.units_out == "ADU" else "e-"


def _refuse_adu(linearizes: bool, dark: DarkConfig, *, photometry: bool) -> None:
    """ADU out of adc where something later takes electrons."""
    takers = [
        name
        for name, on in (
            ("calib.nonlinearity", linearizes),
            (
                "calib.dark",
                dark.enabled and (dark.dark_model.method != "none" or dark.cosmic_rays.enabled or dark.pedestal.fixed_value is not None),
            ),
            ("calib.photometry", photometry),
        )
        if on
    ]
    if takers:
        raise ConfigError(
            f"calib.adc.units_out=ADU, but {', '.join(takers)} take electrons: set units_out=e, or disable them "
            "(nonlinearity.enabled=false dark.dark_model.method=none photometry.enabled=false trace.enabled=false phase.enabled=false)"
        )

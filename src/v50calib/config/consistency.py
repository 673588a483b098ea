"""Choices of a config that exclude each other, refused by name before any file or frame is read."""

from __future__ import annotations

from v50calib.config.instruments import as_keys_of
from v50calib.config.models import CalibConfig, RunConfig
from v50calib.errors import ConfigError
from v50calib.schema import INSTRUMENT
from v50calib.stages.adc.config import AdcConfig
from v50calib.stages.cds.config import CdsConfig
from v50calib.stages.dark.cosmic_rays import require_installed
from v50calib.stages.photometry.choices import resolve_method

#: overrides that leave the frames and nothing after them
_FRAMES_ALONE = "calib.photometry.enabled=false calib.trace.enabled=false calib.phase.enabled=false"


def refuse_inconsistent(config: RunConfig) -> None:
    """Raises ConfigError where the enabled stages cannot work on what the ones before them give, of any instrument.

    The message names the keys in conflict and the overrides that resolve it, each a whole key that can be pasted.

    >>> refuse_inconsistent(RunConfig())
    """
    for name in config.by_instrument:
        with as_keys_of(name, config.by_instrument):
            calib = config.of(name).calib
            _refuse_inconsistent(calib)
            if name in INSTRUMENT and calib.photometry.enabled and calib.covers(name):
                resolve_method(calib.photometry, INSTRUMENT[name].spectral)
    _refuse_inconsistent(config.calib)


def _refuse_inconsistent(calib: CalibConfig) -> None:
    _refuse_missing_stages(calib)
    _refuse_missing_electrons(calib)
    if calib.dark.enabled:
        require_installed(calib.dark.cosmic_rays)


def frame_units(adc: AdcConfig, cds: CdsConfig) -> str:
    """Units of the CDS frames of a config."""
    return cds.normalization.units or ("ADU" if adc.units_out == "ADU" else "e-")


def _refuse_missing_stages(calib: CalibConfig) -> None:
    """A stage that is on without the one whose output it takes."""
    if not calib.adc.enabled:
        raise ConfigError(
            "calib.adc.enabled=false leaves the frames in ADU, but the later stages take electrons: set calib.adc.enabled=true "
            "(calib.adc.offset_correction.method=none calib.adc.gain_correction.method=none make it the identity)"
        )
    if not calib.cds.enabled:
        raise ConfigError(
            "calib.cds.enabled=false leaves single reads, but photometry takes CDS pairs: set calib.cds.enabled=true; "
            "pipeline.until('flat') gives the single reads"
        )
    if calib.phase.enabled and not calib.trace.enabled:
        raise ConfigError(
            "calib.phase needs the normalized light curves of calib.trace, and calib.trace.enabled=false: "
            "set calib.trace.enabled=true or calib.phase.enabled=false"
        )
    if calib.trace.enabled and not calib.photometry.enabled:
        raise ConfigError(
            "calib.trace needs the light curves of calib.photometry, and calib.photometry.enabled=false: "
            "set calib.photometry.enabled=true or calib.trace.enabled=false calib.phase.enabled=false"
        )


def _refuse_missing_electrons(calib: CalibConfig) -> None:
    """Electrons corrected twice, or not there where a stage takes them."""
    in_adu, in_electrons = calib.adc.linearization.method, calib.nonlinearity.method
    if in_adu != "none" and _linearizes(calib):
        own_key = "lut_path" if in_adu == "lut" else "poly_coeffs"
        raise ConfigError(
            f"calib.adc.linearization.method={in_adu} and calib.nonlinearity.method={in_electrons} both correct the detector's response: "
            f"set calib.nonlinearity.enabled=false or calib.adc.linearization.method=none calib.adc.linearization.{own_key}=null"
        )
    if calib.adc.units_out == "ADU" and (remedies := _takers_of_electrons(calib)):
        takers = f"{', '.join(remedies)} {'take' if len(remedies) > 1 else 'takes'}"
        raise ConfigError(f"calib.adc.units_out=ADU, but {takers} electrons: set calib.adc.units_out=e, or {' '.join(remedies.values())}")
    if calib.cds.normalization.units is not None and calib.photometry.enabled:
        raise ConfigError(
            f"calib.cds.normalization.method={calib.cds.normalization.method} leaves no electrons, and photometry's noise model needs "
            f"them: set {_FRAMES_ALONE}, or calib.cds.normalization.method=none (trace normalizes light curves)"
        )


def _linearizes(calib: CalibConfig) -> bool:
    return calib.nonlinearity.enabled and calib.nonlinearity.corrects


def _takers_of_electrons(calib: CalibConfig) -> dict[str, str]:
    """{stage after adc that takes electrons: overrides that stop it}, of those that are on."""
    dark, found = calib.dark, {}
    if _linearizes(calib):
        found["calib.nonlinearity"] = "calib.nonlinearity.enabled=false"
    parts_of_dark = {
        "calib.dark.dark_model.method=none": dark.dark_model.method != "none",
        "calib.dark.cosmic_rays.enabled=false": dark.cosmic_rays.enabled,
        "calib.dark.pedestal.enabled=false calib.dark.pedestal.fixed_value=null": dark.pedestal.fixed_value is not None,
    }
    if dark.enabled and any(parts_of_dark.values()):
        found["calib.dark"] = " ".join(override for override, on in parts_of_dark.items() if on)
    if calib.photometry.enabled:
        found["calib.photometry"] = _FRAMES_ALONE
    return found

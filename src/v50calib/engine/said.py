"""What a product says of itself beside its variables: the transit, what the fit worked on, the stages, notes and guards' numbers."""

from __future__ import annotations

import json
from typing import Any

from v50calib.config.models import RunConfig
from v50calib.engine.constants import VisitConstants
from v50calib.engine.series import SeriesResult
from v50calib.stages import FRAME_STAGES


def attributes(visit: VisitConstants, series: SeriesResult | None) -> dict[str, Any]:
    """Attributes of a product that are known once it is made."""
    attrs: dict[str, Any] = {}
    if series is not None and series.ephemeris is not None:
        attrs |= series.ephemeris.attrs
    if series is not None and series.fitted is not None:
        attrs |= {"fit_width_h": series.fitted.width, "fit_additive": series.fitted.additive}
        if series.fitted.depth_var is not None:
            attrs["fit_depth_var"] = series.fitted.depth_var
        if series.fitted.shift_term is not None:
            attrs["fit_shift_term"] = series.fitted.shift_term
    attrs["first_stamp_h"] = float(visit.state.time_h[0])
    if series is not None and series.curves.flagged:
        attrs["photometry_flagged"] = json.dumps(series.curves.flagged, sort_keys=True)
    return attrs


def notes_of(visit: VisitConstants, series: SeriesResult | None) -> list[str]:
    """What the stages noted of a visit, in their order."""
    if series is None:
        return list(visit.state.notes)
    return [*visit.state.notes, *(series.normalized.notes if series.normalized else ()), *series.notes]


def numbers_of(visit: VisitConstants, series: SeriesResult | None) -> dict[str, dict[str, Any]]:
    """Numbers that each stage recorded while it ran."""
    return visit.state.qc | (series.qc if series is not None else {})


def stages_with_numbers(config: RunConfig) -> dict[str, bool]:
    """Which stages have their numbers in the QC record."""
    return {name: config.output.diagnostics and stage.enabled and stage.diagnostics.enabled for name, stage in config.calib.stages()}


def stage_status(config: RunConfig, visit: VisitConstants) -> dict[str, str]:
    """What each stage did to a visit: the method used, `off` where it was disabled."""
    frames = {stage.name for stage in FRAME_STAGES} | {"trace", "phase"}
    status = {name: "done" if stage.enabled and name in frames else "off" for name, stage in config.calib.stages()}
    if visit.photometry is not None:
        status["photometry"] = visit.photometry.method
    return status

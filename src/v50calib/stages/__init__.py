"""The eight stages, by the names of the science."""

from __future__ import annotations

from v50calib.stages.adc.stage import Adc
from v50calib.stages.cds.stage import Cds
from v50calib.stages.dark.stage import Dark
from v50calib.stages.flat.stage import Flat
from v50calib.stages.nonlinearity.stage import Nonlinearity
from v50calib.stages.phase.stage import Phase
from v50calib.stages.photometry.stage import Photometry
from v50calib.stages.trace.stage import Trace

#: stages that work on frames, in the order they run
FRAME_STAGES = (Adc, Nonlinearity, Dark, Flat, Cds)
SERIES_STAGES = (Trace, Phase)
STAGE_ORDER = tuple(s.name for s in (*FRAME_STAGES, Photometry, *SERIES_STAGES))

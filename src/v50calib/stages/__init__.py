"""The eight stages, by the names of the science."""

from __future__ import annotations

from v50calib.stages.adc import Adc
from v50calib.stages.cds import Cds
from v50calib.stages.dark import Dark
from v50calib.stages.flat import Flat
from v50calib.stages.nonlinearity import Nonlinearity
from v50calib.stages.phase import Phase
from v50calib.stages.photometry import Photometry
from v50calib.stages.trace import Trace

#: stages that work on frames, in the order they run
FRAME_STAGES = (Adc, Nonlinearity, Dark, Flat, Cds)
SERIES_STAGES = (Trace, Phase)
STAGE_ORDER = tuple(s.name for s in (*FRAME_STAGES, Photometry, *SERIES_STAGES))

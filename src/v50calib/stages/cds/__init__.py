"""CDS: correlated double sampling, the difference of the two reads of a pair."""

from v50calib.stages.cds.config import CdsConfig
from v50calib.stages.cds.stage import Cds

__all__ = ["Cds", "CdsConfig"]

"""ADC: raw codes to electrons."""

from v50calib.stages.adc.config import AdcConfig
from v50calib.stages.adc.stage import Adc

__all__ = ["Adc", "AdcConfig"]

"""Forward model: a dataset in the challenge's layout whose truth is known."""

from __future__ import annotations

from v50calib.simulate.config import REALISTIC, SimConfig
from v50calib.simulate.dataset import simulate_dataset
from v50calib.simulate.truth import read_truth
from v50calib.simulate.visit import InstrumentVisit, Scene, SimulatedVisit, make_scene, simulate_visit

__all__ = [
    "REALISTIC",
    "InstrumentVisit",
    "Scene",
    "SimConfig",
    "SimulatedVisit",
    "make_scene",
    "read_truth",
    "simulate_dataset",
    "simulate_visit",
]

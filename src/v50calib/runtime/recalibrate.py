"""`calib.top_level_calib` in a run: its files are read before the first frame, predictions are recalibrated after the last visit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from v50calib.config.models import RunConfig
from v50calib.errors import ConfigError, DataError
from v50calib.io.storage.location import Location
from v50calib.io.storage.ours import is_page, refuse_to_overwrite
from v50calib.runs.calibrated import calibrated_visits, open_calibrated
from v50calib.uncertainty.files import is_model
from v50calib.uncertainty.fit import common, least
from v50calib.uncertainty.model import corel_module
from v50calib.uncertainty.options import TopLevelCalib
from v50calib.uncertainty.spectra import combine
from v50calib.uncertainty.tables import FORMATS, Features, Predictions, Truth, read_features, read_predictions, read_truth
from v50calib.uncertainty.temperature import need

if TYPE_CHECKING:
    from v50calib.uncertainty.workflow import Outcome

#: key of calib.top_level_calib.io -> environment variable that is used if it is null
ENVIRONMENT = {"pred_path": "PRED_PATH", "truth_path": "TRUTH_PATH", "features_path": "FEATURES_PATH"}
REPORT = "uncertainty.html"
#: the files that must be given
WHAT = {
    "pred_path": "the predictions (mu and sigma of each planet)",
    "truth_path": "the truth of planets that the model was not trained on",
}


@dataclass(frozen=True)
class Prepared:
    """What the recalibration at the end of a run needs, read and checked."""

    options: TopLevelCalib
    predictions: Predictions
    truth: Truth
    features: Features | None
    run_dir: Path
    out: Path
    model: Path

    def finish(self) -> tuple[Outcome, list[str]]:
        """Fit, recalibrate, write; the outcome and messages for the user. Raises DataError, ConfigError."""
        # its page brings matplotlib, which other runs do without
        from v50calib.uncertainty.workflow import recalibrate

        features = self.features
        notes = [*self.predictions.notes, *self.truth.notes, *(features.notes if features is not None else ())]
        if features is None and self.options.method == "corel":
            features, note = features_of(self.run_dir, self.predictions)
            notes.append(note)
        done = recalibrate(
            self.predictions, self.truth, self.options, features, out=self.out, model=self.model, report=self.run_dir / REPORT
        )
        before, after = done.record["before"], done.record["after"]
        notes += [
            *done.calibrator.notes,
            f"score {before['score']:.4f} → {after['score']:.4f} on the {done.record['planets']} planets of the fit",
        ]
        notes.append(f"{len(self.predictions.ids)} planets recalibrated ({done.calibrator.used}) → {self.out}")
        return done, notes


def prepare(config: RunConfig, run_dir: Location) -> Prepared | None:
    """The recalibration that a config asks for, with its files read; None if calib.top_level_calib.method is none.

    A path that is null is taken from the environment (PRED_PATH, TRUTH_PATH, FEATURES_PATH). Raises ConfigError for a path that is
    missing, DataError for a file that cannot be used, planets that do not match, too few of them, or torch not installed.
    """
    options = config.calib.top_level_calib
    if options.method == "none":
        return None
    if not isinstance(run_dir, Path):
        raise ConfigError(
            f"calib.top_level_calib.method={options.method} writes local files beside a run, and '{run_dir}' is in an object store: use "
            "'v50calib uncertainty fit' and 'apply' with local files, or a local --out"
        )
    paths = {key: getattr(options.io, key) or os.environ.get(name) or None for key, name in ENVIRONMENT.items()}
    missing = [key for key in WHAT if not paths[key]]
    if missing:
        raise ConfigError(
            f"calib.top_level_calib.method={options.method} recalibrates predictions, and these files are not given: "
            + "; ".join(f"calib.top_level_calib.io.{key} (or ${ENVIRONMENT[key]}), {WHAT[key]}" for key in missing)
            + f". Formats: {', '.join(FORMATS)}; 'v50calib spectra RUN_DIR' makes predictions of a calibrated run"
        )
    if options.method == "corel":
        corel_module()
    predictions, truth = read_predictions(str(paths["pred_path"])), read_truth(str(paths["truth_path"]))
    features = read_features(paths["features_path"]) if paths["features_path"] else None
    need(len(common(predictions, truth, features)[0]), *least(options))
    suffix = Path(str(paths["pred_path"])).suffix
    out = Path(options.io.out_path) if options.io.out_path else run_dir / f"predictions_calibrated{suffix}"
    if out.suffix not in FORMATS:
        raise ConfigError(f"calib.top_level_calib.io.out_path={out}: the ending must be one of {', '.join(FORMATS)}")
    model = Path(options.io.model_path or run_dir / "calibrator.npz")
    _check_places(out, model, run_dir / REPORT, [Path(str(path)) for path in paths.values() if path])
    return Prepared(options, predictions, truth, features, run_dir, out, model)


def _check_places(out: Path, model: Path, report: Path, inputs: Sequence[Path]) -> None:
    """Refuse to write over what is read (ConfigError), or over a file that is no product of this kind (StoreError)."""
    for key, path in (("out_path", out), ("model_path", model)):
        if any(path.resolve() == given.resolve() for given in inputs):
            raise ConfigError(
                f"calib.top_level_calib.io.{key}={path} is one of the files that are read, which would be lost: give another file"
            )
    remedy = "move it, or give another calib.top_level_calib.io."
    refuse_to_overwrite(out, _is_predictions, "a file of predictions", remedy=f"{remedy}out_path")
    refuse_to_overwrite(model, is_model, "a model", remedy=f"{remedy}model_path")
    refuse_to_overwrite(report, is_page, "a page", remedy="move it, or give another --out")


def _is_predictions(path: Location) -> bool:
    try:
        return bool(read_predictions(str(path)).ids)
    except DataError:
        return False


def features_of(run_dir: Path, predictions: Predictions) -> tuple[Features | None, str]:
    """Out-of-transit scatter of the run's own light curves, or None if it lacks a planet of the predictions; and a message."""
    try:
        held = {Path(name).parts[1] for name in open_calibrated(run_dir).groups if len(Path(name).parts) > 1}
        if absent := set(predictions.ids) - held:
            return None, f"corel works without features: the run lacks {len(absent)} of the {len(predictions.ids)} planets"
        wanted = (ds for ds in calibrated_visits(run_dir) if str(ds.attrs["planet_id"]) in set(predictions.ids))
        return combine(wanted, {"mean": 0.0, "sigma": 1.0}).features, "features: out-of-transit scatter of this run's light curves"
    except DataError as exc:
        return None, f"corel works without features: {exc}"

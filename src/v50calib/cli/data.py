"""Commands that make data: `simulate` and `ingest`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from v50calib.cli.arguments import LOCAL, LOCATION, one_of
from v50calib.cli.output import WorkCommand
from v50calib.io.storage.location import Location
from v50calib.processes import interruptible

#: what `simulate` does that its files' reader does not expect: (field of SimConfig, default, meaning)
_EFFECTS: tuple[tuple[str, float | bool, str], ...] = (
    ("gain_drift", 1e-3, "Slow drift of the gain in time and wavelength, relative rms over the visit."),
    ("exposure_jitter", 0.28, "Pointing jitter at 20 Hz within an exposure, px rms in x and in y."),
    ("structured_spectrum", True, "Spectra with molecular bands of a few hundred ppm; --no-structured-spectrum: smooth ones."),
    ("limb_table", True, "Limb darkening by a table; --no-limb-table: near the law that fits start from."),
    ("lost_frames", 0.0045, "Share of read pairs that lose a read or both: all 0, or all 65535."),
    ("background_gradient", 0.3, "Tilt of the background across the detector, relative to its mean."),
)
_FIELDS = {"exposure_jitter": "exposure_jitter_px"}


class Fraction(click.types.FloatParamType):
    """A number; a quotient, which many write for a fraction, is refused with the number that it is."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        above, slash, below = str(value).partition("/")
        if slash:
            try:
                said = f"write {float(above) / float(below):.6g}"
            except (ValueError, ZeroDivisionError):
                said = "write e.g. 0.02"
            self.fail(f"'{value}' is no decimal number: {said}", param, ctx)
        return super().convert(value, param, ctx)


def _effect_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds to `simulate` a size and a --no-... switch for every effect, or a pair of switches where it has no size."""
    for name, default, meaning in reversed(_EFFECTS):
        word = name.replace("_", "-")
        if isinstance(default, bool):
            command = click.option(f"--{word}/--no-{word}", name, default=default, show_default=True, help=meaning)(command)
            continue
        command = click.option(f"--no-{word}", f"no_{name}", is_flag=True, help=f"As --{word} 0.")(command)
        command = click.option(f"--{word}", name, type=float, default=default, show_default=True, help=meaning)(command)
    return command


def _effects_of(options: dict[str, Any], plain: bool) -> dict[str, Any]:
    """Fields of SimConfig that the effects' options state; with `plain`, those that the user gave alone."""
    from click.core import ParameterSource

    context, chosen = click.get_current_context(), {}
    for name, default, _ in _EFFECTS:
        given = context.get_parameter_source(name) is not ParameterSource.DEFAULT
        value = options[name] if given or not plain else type(default)(0)
        if options.get(f"no_{name}"):
            if given:
                word = name.replace("_", "-")
                raise click.UsageError(f"--{word} {value:g} and --no-{word} contradict each other: give one")
            value = 0.0
        chosen[_FIELDS.get(name, name)] = value
    return chosen


@click.command(cls=WorkCommand)
@click.argument("out", type=LOCAL)
@click.option("--planets", default=3, show_default=True, help="Number of planets.")
@click.option("--visits", default="1", show_default=True, help="Visits per planet: a number, or a list to repeat, e.g. 2,1,1.")
@click.option(
    "--frames-fraction",
    type=Fraction(),
    default=1.0,
    show_default=True,
    help="Fraction of the full 135000 FGS1 and 11250 AIRS-CH0 frames; a visit still lasts 7.5 h.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same dataset.")
@click.option("--jitter", type=float, nargs=2, default=(0.10, 0.12), show_default=True, help="White pointing jitter in x and y, px rms.")
@click.option("--drift", type=float, default=0.05, show_default=True, help="Slow pointing drift, px.")
@one_of("--layout", words=("2025", "2024"), help="Edition of the challenge whose file layout is written.")
@click.option("--brightness", type=float, help="Light level relative to the real sample, 0-5.  [default: drawn, 0.6-1.4]")
@click.option("--spectra", type=LOCAL, help="File of depths as train.csv: its planets in order.  [default: drawn]")
@_effect_options
@click.option("--full-well", type=float, help="Reading at which a pixel is full, e-.  [default: the converter's end, 149 ke-]")
@click.option("--low-light", default=0.0, show_default=True, help="Share of the visit, at its end, with 10 % less light.")
@click.option("--plain", is_flag=True, help="All of these effects off, but for those given.")
@click.option(
    "--encoding", type=click.Choice(["dictionary", "plain"]), default="dictionary", show_default=True,
    help="Pages of the signal files: by dictionary as in the challenge's, or plain.",
)  # fmt: skip
@click.option("--workers", default=1, show_default=True, help="Number of processes.")
def simulate(
    out: Path,
    planets: int,
    visits: str,
    frames_fraction: float,
    seed: int,
    jitter: tuple[float, float],
    drift: float,
    layout: str,
    brightness: float | None,
    spectra: Path | None,
    full_well: float | None,
    low_light: float,
    plain: bool,
    encoding: Literal["dictionary", "plain"],
    workers: int,
    **effects: Any,
) -> None:
    """Write a dataset in the challenge's layout, with known truth, to the folder OUT.

    Effects that a calibrator does not expect are on at realistic levels; each has a switch, --plain turns all off.
    """
    from v50calib.cli.progress import counter
    from v50calib.simulate import simulate_dataset

    try:
        per_planet = [int(v) for v in visits.split(",")]
    except ValueError as exc:
        raise click.BadParameter(f"'{visits}' is not a number or a list of numbers, e.g. 1 or 2,1,1", param_hint="--visits") from exc
    with counter("simulate") as step, interruptible("nothing was left, run the same command again"):
        path = simulate_dataset(
            out, planets=planets, visits=per_planet, frames_fraction=frames_fraction, seed=seed, jitter_px=jitter, drift_px=drift,
            layout="2024" if layout == "2024" else "2025", workers=workers, progress=step, brightness=brightness,
            spectra=None if spectra is None else str(spectra), full_well_e=full_well, low_light=low_light, encoding=encoding,
            **_effects_of(effects, plain),
        )  # fmt: skip
    click.echo(f"wrote {planets} planets to {path}")


@click.command(cls=WorkCommand)
@click.argument("dataset", type=LOCATION)
@click.argument("store", type=LOCATION)
@click.option("--workers", default=1, show_default=True, help="Number of processes; each streams one visit.")
@click.option("--update", is_flag=True, help="Replace visits of STORE whose files have other content by now.")
def ingest(dataset: Location, store: Location, workers: int, update: bool) -> None:
    """Write the raw frames of DATASET (parquet) to the Zarr store STORE, for repeated and parallel reading.

    Visits that are there, made of the same files, are skipped. One whose files have other content is named and stays, exit code 1;
    --update replaces it.
    """
    from v50calib.cli.progress import counter
    from v50calib.io.ingestion import ingest as run

    with counter("ingest") as step, interruptible("finished visits are kept, run the same command again for the others"):
        result = run(dataset, store, workers=workers, update=update, progress=step)
    click.echo(f"{len(result.written)} ingested, {len(result.skipped)} already there, {len(result.failed)} failed → {store}")
    for key, message in result.failed.items():
        click.echo(f"failed {key}: {message}", err=True)
    if result.failed:
        sys.exit(1)

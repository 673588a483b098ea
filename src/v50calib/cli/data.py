"""Commands that make data: `simulate` and `ingest`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from v50calib.cli.arguments import LOCAL, LOCATION, DataCommand, one_of
from v50calib.io.storage.location import Location


@click.command()
@click.argument("out", type=LOCAL)
@click.option("--planets", default=3, show_default=True, help="Number of planets.")
@click.option("--visits", default="1", show_default=True, help="Visits per planet: a number, or a list to repeat, e.g. 2,1,1.")
@click.option(
    "--frames-fraction",
    default=1.0,
    show_default=True,
    help="Fraction of the full 135000 FGS1 and 11250 AIRS-CH0 frames; a visit still lasts 7.5 h.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same dataset.")
@click.option("--jitter", type=float, nargs=2, default=(0.10, 0.12), show_default=True, help="White pointing jitter in x and y, px rms.")
@click.option("--drift", type=float, default=0.05, show_default=True, help="Slow pointing drift, px.")
@one_of("--layout", words=("2025", "2024"), help="Edition of the challenge whose file layout is written.")
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
    workers: int,
) -> None:
    """Write a dataset in the challenge's layout, with known truth, to the folder OUT."""
    from v50calib.cli.progress import counter
    from v50calib.simulate import simulate_dataset

    try:
        per_planet = [int(v) for v in visits.split(",")]
    except ValueError as exc:
        raise click.BadParameter(f"'{visits}' is not a number or a list of numbers, e.g. 1 or 2,1,1", param_hint="--visits") from exc
    with counter("simulate") as step:
        path = simulate_dataset(
            out, planets=planets, visits=per_planet, frames_fraction=frames_fraction, seed=seed, jitter_px=jitter, drift_px=drift,
            layout="2024" if layout == "2024" else "2025", workers=workers, progress=step,
        )  # fmt: skip
    click.echo(f"wrote {planets} planets to {path}")


@click.command(cls=DataCommand)
@click.argument("dataset", type=LOCATION)
@click.argument("store", type=LOCATION)
@click.option("--workers", default=1, show_default=True, help="Number of processes; each streams one visit.")
def ingest(dataset: Location, store: Location, workers: int) -> None:
    """Write the raw frames of DATASET (parquet) to the Zarr store STORE, for repeated and parallel reading."""
    from v50calib.cli.progress import counter
    from v50calib.io.ingestion import ingest as run

    with counter("ingest") as step:
        result = run(dataset, store, workers=workers, progress=step)
    click.echo(f"{len(result.written)} ingested, {len(result.skipped)} already there, {len(result.failed)} failed → {store}")
    for key, message in result.failed.items():
        click.echo(f"failed {key}: {message}", err=True)
    if result.failed:
        sys.exit(1)

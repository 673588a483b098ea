"""Command line: `v50calib` (and `spectramind`, the same program)."""

from __future__ import annotations

import io
import signal
import sys
from typing import Any

import click

from v50calib.cli.calibrate import calibrate
from v50calib.cli.data import ingest, simulate
from v50calib.cli.output import forgiving
from v50calib.cli.plan import doctor, plan
from v50calib.cli.predictions import score, spectra, uncertainty
from v50calib.cli.runs import export, qc, report, status, summary, verify
from v50calib.cli.solve import solve
from v50calib.errors import StoreError, V50CalibError, no_cache

INTERRUPTED = "interrupted: what is finished stays, and nothing half-written is taken for whole"


class Program(click.Group):
    """A group that prints an error as one paragraph and ends with its exit code. Progress and errors that nobody reads are dropped."""

    def main(self, *args: Any, **more: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            # an arrow that the terminal's encoding lacks must not end a command whose work is done
            if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
                stream.reconfigure(errors="replace")
        with forgiving("stderr"):
            return super().main(*args, **more)

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        try:
            return super().make_context(*args, **more)
        except KeyboardInterrupt:
            click.echo(INTERRUPTED, err=True)
            sys.exit(128 + signal.SIGINT)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except V50CalibError as exc:
            click.echo(f"error: {exc}", err=True)
            ctx.exit(exc.exit_code)
        except KeyboardInterrupt:
            # click's own answer is exit code 1, which says that a visit failed
            click.echo(INTERRUPTED, err=True)
            ctx.exit(128 + signal.SIGINT)
        except RuntimeError as exc:
            if (told := no_cache(exc)) is None:
                raise
            click.echo(f"error: {told}", err=True)
            ctx.exit(told.exit_code)
        except (ConnectionError, PermissionError) as exc:
            # an object store that stops answering or refuses the credentials, a file of another user
            click.echo(f"error: {exc}", err=True)
            ctx.exit(StoreError.exit_code)


@click.group(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="v50calib")
def main() -> None:
    """Calibrate raw FGS1 and AIRS-CH0 frames of Ariel-like datasets.

    \b
    Start here:
      v50calib simulate data --planets 3 --frames-fraction 0.05
      v50calib calibrate --config-name calib/nominal --data data --out runs/nominal
      v50calib summary runs/nominal --truth data
      v50calib report runs/nominal --truth data
    """


for command in (
    simulate,
    ingest,
    calibrate,
    solve,
    plan,
    doctor,
    status,
    verify,
    summary,
    qc,
    report,
    export,
    spectra,
    score,
    uncertainty,
):
    main.add_command(command)

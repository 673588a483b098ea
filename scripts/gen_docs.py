"""Writes the tables of README.md and docs/ that come from the code; `--check` fails where one is stale.

    python scripts/gen_docs.py            # rewrite the tables in place
    python scripts/gen_docs.py --check    # exit 1 and name the files that would change

A table stands between `<!-- begin: NAME -->` and `<!-- end: NAME -->`. NAME is one of: `config PATH` (keys of a section of
the config models), `cli COMMAND` (its options), `raw`, `products`, `commands`, `api`, `keys`, `dq`, `distrust`, `profiles`.
"""

from __future__ import annotations

import argparse
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import annotated_types
import click
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import v50calib
from v50calib.cli.main import main as program
from v50calib.config import load
from v50calib.config.compose import profiles_dir
from v50calib.config.models import RunConfig
from v50calib.dq import DESCRIPTIONS
from v50calib.errors import ConfigError
from v50calib.qc.distrust import RULES
from v50calib.schema import CALIBRATED, RAW_VISIT, Var

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"(<!-- begin: (?P<name>[^>]+?) -->\n).*?(<!-- end: (?P=name) -->)", re.DOTALL)
_YAML_LINE = re.compile(r"^(?P<indent> *)(?P<key>\w+):(?P<value>[^#]*)(?:#\s*(?P<comment>.*\S))?\s*$")
_SIGNS = {"Ge": ("ge", "≥"), "Gt": ("gt", ">"), "Le": ("le", "≤"), "Lt": ("lt", "<")}

#: meaning of keys on which the profiles' own comments are silent
MEANINGS = {
    "calib.adc.enabled": "must stay on: later stages take electrons",
    "calib.adc.detector.bit_depth_in": "bits of the converter, at most the detector's own; its full scale is saturation",
    "calib.adc.detector.saturation_level_e": "e-; null: the converter's full scale",
    "calib.adc.offset_correction.offset_sign": "-1 flips the offset's sign",
    "calib.dark.bad_pixel_handling.hot_pixel_detection.sigma_threshold": "clip of the science columns' dark map about its median",
    "calib.flat.flat_model.method": "`auto`: the dataset's flat map",
    "calib.adc.offset_correction.method": "`auto`: the dataset's; `global`: `value`; `per_channel`, `per_pixel`: from files; `none`: 0",
    "calib.adc.gain_correction.method": "`auto`: the dataset's; `global`: `value`; `per_channel`, `per_pixel`: from files; `none`: 1",
    "calib.adc.reference_pixel.strategy": "one number a frame (`border_mean`, `mask_mean`), a row or a column",
    "calib.adc.fpn_cleanup.mode": "medians that are taken away, the frame's own level kept",
    "calib.adc.linearization.method": "of the codes, before gain and offset",
    "calib.adc.units_out": "`ADU`: only where nothing after takes electrons",
    "calib.nonlinearity.method": "`auto`: the dataset's linear_corr; `poly`: one for all pixels",
    "calib.dark.dark_model.method": "`auto`: the dataset's dark map",
    "calib.dark.temperature.method": "`linear`: 1 + slope (T - T0); `arrhenius`: exp(-Ea/k (1/T - 1/T0))",
    "calib.dark.temperature.activation_energy_eV": "Ea of `arrhenius`",
    "calib.dark.bad_pixel_handling.hot_pixel_detection.max_iters": "of the clip",
    "calib.dark.bad_pixel_handling.replace.mode": "`none`: photometry fills bad pixels where it sums",
    "calib.cds.cds.mode": "what a second read loses: its first read, or a baseline",
    "calib.cds.pairing.policy": "`auto`: as the mode implies",
    "calib.cds.pairing.order_by": "what comes before what",
    "calib.cds.enabled": "must stay on where photometry follows",
    "calib.photometry.instrument.name": "restricts the run to one instrument; text: one of the root's detector.yaml",
    "calib.photometry.photometry.method": "`auto`: optimal for AIRS-CH0, aperture for FGS1",
    "calib.photometry.aperture.shape": "`box`: height_px x width_px; AIRS-CH0 uses the height",
    "calib.photometry.aperture.mask_treatment": "`fill`: estimate masked pixels; `omit`: leave them out of the sum",
    "calib.photometry.aperture.radius_px": "FGS1: circle; AIRS-CH0: half height of the strip",
    "calib.photometry.aperture.box.height_px": "with shape=box",
    "calib.photometry.aperture.box.width_px": "with shape=box, FGS1",
    "calib.photometry.background.method": "`auto`: columns for AIRS-CH0, annulus for FGS1",
    "calib.photometry.background.columns.edge_rows": "rows at the top and at the bottom",
    "calib.photometry.background.columns.smooth_columns": "columns in the running mean along wavelength; 1: none",
    "calib.photometry.background.annulus.inner_px": "inner radius about the star",
    "calib.photometry.background.annulus.outer_px": "outer radius",
    "calib.photometry.background.smooth_s": "length of the running mean in time; 0: pair by pair",
    "calib.photometry.optimal.window.half_height_px": "rows to each side of the trace",
    "calib.photometry.optimal.profile.degree": "of the profile's polynomial along the columns",
    "calib.photometry.outlier_replace.enabled": "repair single outlying samples",
    "calib.photometry.outlier_replace.threshold_sigma": "a single pair off both neighbours to the same side",
    "calib.trace.instrument.name": "as calib.photometry.instrument.name",
    "calib.trace.along_wavelength.enabled": "false: one level for all channels, the spectrum's shape stays",
    "calib.trace.along_wavelength.method": "`auto`: the channel's own out-of-transit level; else a smooth continuum through the levels",
    "calib.trace.along_wavelength.poly.degree": "of the continuum",
    "calib.trace.along_wavelength.spline.knots": "interior knots, evenly spaced in wavelength",
    "calib.trace.along_wavelength.spline.smoothing_lambda": "penalty on ∫ s''², wavelength scaled to [-1, 1]",
    "calib.trace.along_wavelength.spline.boundary": "`natural`: straight at both ends",
    "calib.trace.along_wavelength.lowess.frac": "share of the channels in a local line",
    "calib.trace.along_wavelength.lowess.iters": "robust steps",
    "calib.trace.along_wavelength.robust.sigma_clip": "channels further off the continuum are not fitted",
    "calib.trace.along_wavelength.robust.max_iters": "0: no clip",
    "calib.trace.along_wavelength.robust.clip_mode": "`lower`: absorption only; `upper`: emission only",
    "calib.trace.along_wavelength.exclude.windows": "µm, `[[from, to], …]`: not fitted",
    "calib.trace.along_wavelength.exclude.molecules": "bands that are not fitted",
    "calib.trace.along_wavelength.reference": "`per_frame` divides the transit away; the product says so",
    "calib.trace.along_wavelength.renormalize_to_median_one": "median of the out-of-transit levels becomes 1",
    "calib.trace.along_time.enabled": "false: the level alone, neither trend nor pointing",
    "calib.trace.along_time.method": "`auto` is poly",
    "calib.trace.along_time.poly.degree": "of the trend in time; filters leave it beside them",
    "calib.trace.along_time.spline.knots": "interior knots, at quantiles of the out-of-transit pairs",
    "calib.trace.along_time.savgol.window_h": "h; null: 3 T14",
    "calib.trace.along_time.savgol.polyorder": "of the local polynomial",
    "calib.trace.along_time.biweight.window_h": "h; null: 3 T14",
    "calib.trace.along_time.biweight.cval": "median absolute deviations at which a sample counts nothing",
    "calib.trace.along_time.highpass.window_frames": "CDS pairs in the running mean; null: 3 T14",
    "calib.trace.along_time.gp.amplitude": "relative flux; null: of highest likelihood",
    "calib.trace.along_time.gp.length_h": "h; null: of highest likelihood",
    "calib.trace.along_time.gp.shortest_h": "h, shortest length that is looked for",
    "calib.trace.along_time.robust.sigma_clip": "pairs of the white light curve further off its baseline are not fitted",
    "calib.trace.along_time.robust.max_iters": "0: no clip",
    "calib.trace.along_time.target": "`subtract`: the trend does not dim with the star",
    "calib.trace.along_time.mask_transit": "false fits across the transit and may take part of it; the product notes it",
    "calib.trace.along_time.mask_margin": "fraction of T14 added to the mask",
    "calib.trace.along_time.decorrelate.enabled": "terms of the measured vectors",
    "calib.trace.along_time.decorrelate.degree": "of their products; `auto`: 2, and higher terms where the frames show them",
    "calib.trace.along_time.decorrelate.fit": "`joint`: free in the transit fits too; `masked`: fitted out of transit and divided out",
    "calib.trace.along_time.decorrelate.pca_components": "patterns between channels that join the terms",
    "calib.trace.along_time.decorrelate.common_mode": "divide by the white light curve over its transit model",
    "calib.trace.weights.use_variance": "fits along wavelength weight channels by variance",
    "calib.trace.exclude.windows": "h since the start, `[[from, to], …]`: no fit and no bin uses these pairs",
    "calib.phase.ephemeris.source": "`auto`: given where t0_h and duration_h are, else fitted",
    "calib.phase.windows.margin": "widens T14 by this fraction for `in_transit`",
    "calib.phase.fold.enabled": "false: phases are hours from mid-transit",
    "calib.phase.fold.wrap": "phases to [-0.5, 0.5), orbits of one visit stacked",
    "calib.phase.windows.in_transit": "h from mid-transit, `[[from, to], …]`, instead of T14",
    "calib.phase.windows.out_of_transit": "h from mid-transit: the only pairs a baseline is fitted on",
    "calib.phase.binning.strategy": "`adaptive`: denser about ingress and egress; `snr_weighted`: inverse-variance means",
    "calib.phase.binning.nbins": "over the whole visit",
    "calib.phase.binning.min_points": "fewer leave the bin empty",
    "calib.phase.outliers.sigma": "clip about the bin's own mean, in standard deviations of the channel's residuals",
    "calib.phase.outliers.max_iters": "of the clip",
    "calib.phase.outliers.replace_with": "`nan`: out of the bin; `median` of the bin; `interpolate` in time; the last two flag the bin",
    "runtime.scheduler": "local, threads, sync, slurm, pbs, lsf, sge, kubernetes, tcp://HOST:PORT, tls://HOST:PORT; see how-to/cluster.md",
    "runtime.num_workers": "worker processes; null: one for each core of this machine",
    "runtime.threads_per_worker": "threads in each worker process",
    "runtime.memory_limit": "of a worker process: auto, or a size such as 4GB",
    "runtime.chunk_pairs": "pairs in a time chunk; null: 225 (AIRS-CH0), 2700 (FGS1), about 10 MB of frames of another detector",
    "runtime.retries": "other attempts at a visit whose failure may pass",
    "runtime.retry_wait_s": "seconds before the first of them; doubled each time, at most 60",
    "runtime.allowed_failures": "deaths of workers that Dask lets a task survive",
    "runtime.worker_timeout_s": "seconds without any worker until the run stops",
    "runtime.comm_timeout_s": "seconds for a connection to the scheduler",
    "runtime.dashboard": "address of Dask's dashboard, or off",
    "runtime.adaptive.enabled": "number of workers follows the work waiting",
    "runtime.adaptive.minimum": "workers that stay",
    "runtime.adaptive.maximum": "null: num_workers",
    "runtime.queue.name": "queue or partition; null: the site's default",
    "runtime.queue.account": "account or project that pays",
    "runtime.queue.walltime": "of a job; LSF: hours and minutes",
    "runtime.queue.cores": "of a job",
    "runtime.queue.processes": "worker processes of a job; cores / processes threads each",
    "runtime.queue.memory": "of a job",
    "runtime.queue.interface": "network interface that the workers reach the driver by",
    "runtime.queue.directives": "further lines of directives, without their mark",
    "runtime.queue.skip_directives": "directives to leave out",
    "runtime.queue.prologue": "shell lines before the worker starts",
    "runtime.queue.log_directory": "of the jobs' output",
    "runtime.queue.local_directory": "scratch of the workers",
    "runtime.queue.python": "interpreter on the nodes; null: this one",
    "runtime.kubernetes.name": "of the cluster",
    "runtime.kubernetes.namespace": "null: that of the current context",
    "runtime.kubernetes.image": "with v50calib in it",
    "runtime.kubernetes.cpu": "of a pod",
    "runtime.kubernetes.memory": "of a pod",
    "runtime.kubernetes.spec": "YAML file of a DaskCluster, used instead of image, cpu and memory",
    "runtime.tls.ca": "PEM file of the authority",
    "runtime.tls.cert": "PEM file of the certificate",
    "runtime.tls.key": "PEM file of the private key",
    "calib.top_level_calib.io.model_path": "where the fitted model goes; null: calibrator.npz in the run directory",
    "calib.top_level_calib.score.edition": "whose metric",
    "calib.top_level_calib.score.sigma_fgs1": "of the ideal answer, wl_1",
    "calib.top_level_calib.score.sigma_airs": "of the ideal answer, wl_2 to wl_283",
    "calib.top_level_calib.score.sigma_2024": "of the ideal answer, every channel of 2024",
    "calib.top_level_calib.score.fgs1_weight": "weight of wl_1 (2025)",
    "calib.top_level_calib.score.naive_mean": "mean of the training set: the answer that scores 0",
    "calib.top_level_calib.score.naive_sigma": "standard deviation of the training set",
    "calib.top_level_calib.score.sigma_floor": "a smaller sigma counts as this",
    "calib.top_level_calib.temperature.grid_search": "search T on a grid of log T (step 0.002) instead of the closed form",
    "calib.top_level_calib.temperature.clamp_T": "smallest and largest T",
    "calib.top_level_calib.affine.ridge": "penalty on the slopes, in planets",
    "calib.top_level_calib.affine.shift": "move mu by its bias per channel",
    "calib.top_level_calib.affine.smooth_bins": "channels in the running mean of features; 1: none",
    "calib.top_level_calib.corel.model.backend": "`none`: the same network without edges",
    "calib.top_level_calib.corel.model.head": "`quantile`: 39 quantiles by pinball loss, their width as scale",
    "calib.top_level_calib.corel.model.hidden": "width of a node's state",
    "calib.top_level_calib.corel.model.layers": "attention layers",
    "calib.top_level_calib.corel.model.heads": "attention heads",
    "calib.top_level_calib.corel.model.use_edge_features": "distance in wavelength enters the attention",
    "calib.top_level_calib.corel.graph.k_proximity": "nearest channels that a channel attends to",
    "calib.top_level_calib.corel.fit.batch_size": "planets a step",
    "calib.top_level_calib.corel.fit.conformal_fraction": "share of planets held out for the intervals",
    "calib.top_level_calib.corel.fit.seed": "of splits and of the network",
    "calib.top_level_calib.corel.fit.early_stop.patience": "epochs without a gain",
    "calib.top_level_calib.corel.fit.early_stop.validation_fraction": "share of the fit planets that stops the training",
    "calib.top_level_calib.corel.coverage.target": "of the intervals; null: 1 - conformal.alpha",
    "calib.top_level_calib.corel.conformal.enabled": "make intervals",
    "calib.top_level_calib.corel.conformal.method": "`joint`: one band for all channels of a planet",
    "calib.top_level_calib.corel.conformal.alpha": "share of misses",
    "calib.top_level_calib.corel.conformal.per_bin": "false: one quantile for all channels",
    "calib.top_level_calib.corel.conformal.groups": "groups of planets by mean log sigma, each with its own quantiles",
    "calib.top_level_calib.corel.ablation": "also fit the network without edges, for the printed comparison",
    "output.cubes": "`binned`: CDS frames summed over bin_s; `full`: each of them; `both`; `none`",
    "output.bin_s": "seconds of a bin of the cubes and of `background`",
    "output.dtype": "of stored floats; depths and times are always float64",
}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; a `|` inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines) + "\n"


def yaml_comments(stage: str) -> dict[str, str]:
    """{dotted key: comment} of a stage's file in the profiles; a list of choices before the comment is dropped."""
    path = profiles_dir() / "calib" / f"{stage}.yaml"
    found: dict[str, str] = {}
    above: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        match = _YAML_LINE.match(line)
        if match:
            above = [*above[: len(match["indent"]) // 2], match["key"]]
            comment = match["comment"] or ""
            if comment and not re.fullmatch(r"[\w-]+( \| [\w-]+)*", comment):
                found[".".join(above)] = comment
    return found


#: meaning of keys by their ending, where they say the same in every stage
ENDINGS = {
    "io.input_key": "the contract's name, no other",
    "io.output_key": "the contract's name, no other",
    "quality_checks.enabled": "measure the sample pairs; costs a pass over them",
    "quality_checks.action_on_fail": "`warn`: a note in the product; `error`: the visit fails",
    "max_iters": "of the clip",
    "lut_interp": "straight lines, or a monotonic cubic",
}


def meaning(path: str) -> str:
    """What a key means: MEANINGS, else the profile's comment, else nothing."""
    parts = path.split(".")
    own = yaml_comments(parts[1]).get(".".join(parts[2:]), "") if parts[0] == "calib" else ""
    common = next((said for ending, said in ENDINGS.items() if path.endswith(ending)), "")
    return MEANINGS.get(path, own) or common or ("the stage runs" if parts[-1] == "enabled" and len(parts) == 3 else "")


def section(path: str) -> type[BaseModel]:
    """The config model at a dotted path below RunConfig."""
    model: type[BaseModel] = RunConfig
    for name in path.split("."):
        model = next(s for s in _models(model.model_fields[name].annotation))
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models(argument)


def keys(model: type[BaseModel], path: str) -> Iterator[tuple[str, FieldInfo]]:
    """(dotted path, field) of every key below a section."""
    for name, field in model.model_fields.items():
        inner = list(_models(field.annotation))
        if inner:
            yield from keys(inner[0], f"{path}.{name}")
        else:
            yield f"{path}.{name}", field


def accepted(field: FieldInfo) -> str:
    """The values a key takes, in words."""
    words = _words(field.annotation)
    limits = []
    for item in field.metadata:
        if isinstance(item, annotated_types.Ge | annotated_types.Gt | annotated_types.Le | annotated_types.Lt):
            name, sign = _SIGNS[type(item).__name__]
            limits.append(f"{sign} {getattr(item, name):g}")
    return " ".join([words, *limits])


def _words(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{a}`" for a in arguments)
    if origin is typing.Annotated:
        return _words(arguments[0])
    if origin is list:
        return f"list of {_words(arguments[0])}"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_words(a) for a in arguments)
    names = {bool: "true, false", int: "whole number", float: "number", str: "text", type(None): "null"}
    return names[annotation]


def shown(value: object) -> str:
    """A default as one types it in an override."""
    if isinstance(value, list):
        return f"`[{','.join(map(str, value))}]`"
    return f"`{yaml.safe_dump(value).splitlines()[0]}`"


def config_table(path: str) -> str:
    """Keys, defaults, accepted values and meaning of a section."""
    model, rows = section(path), []
    for full, field in keys(model, path):
        default = field.get_default(call_default_factory=True, validated_data={})
        rows.append([f"`{full}`", shown(default), accepted(field), meaning(full)])
    return table(["key", "default", "accepts", "meaning"], rows)


def cli_table(*names: str) -> str:
    """Arguments and options of a command, or of one of a group: `uncertainty fit`."""
    command: click.Command = program
    for name in names:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    rows = []
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            default = parameter.default
            text = " ".join(map(str, default)) if isinstance(default, tuple) else str(default)
            plain = parameter.is_flag or parameter.multiple or not parameter.show_default
            rows.append([f"`{', '.join(parameter.opts)}`", "" if plain else f"`{text}`", parameter.help or ""])
        else:
            rows.append([f"`{parameter.make_metavar(click.Context(command))}`", "", "argument"])
    return table(["option", "default", "meaning"], rows)


def commands_text() -> str:
    """Every command, those of groups included: a heading, what it does, its options."""

    def walk(group: click.Group, above: tuple[str, ...]) -> Iterator[str]:
        for name, command in sorted(group.commands.items()):
            path = (*above, name)
            yield f"## v50calib {' '.join(path)}\n\n{paragraphs(command.help)}\n"
            if isinstance(command, click.Group):
                yield from walk(command, path)
            else:
                yield cli_table(*path)

    return "\n" + "\n".join(walk(program, ())) + "\n"


def paragraphs(text: str | None) -> str:
    """A docstring or a help text as Markdown; what is indented or kept in its lines becomes a block of text."""
    parts = []
    for part in inspect.cleandoc(text or "").split("\n\n"):
        lines = part.strip("\n").removeprefix("\b\n")
        if lines.startswith(">>> "):
            parts.append(f"```pycon\n{lines}\n```")
            continue
        as_block = "\b" in part or any(line.startswith(" ") or "  " in line.strip() for line in lines.splitlines())
        parts.append(f"```text\n{inspect.cleandoc(lines)}\n```" if as_block else " ".join(lines.split()))
    return "\n\n".join(parts)


def api_text() -> str:
    """Signature and docstring of every public name, and of the public methods of classes."""
    out = []
    for name in v50calib.__all__:
        thing = getattr(v50calib, name)
        out.append(f"## {name}\n\n{signature(name, thing)}\n\n{paragraphs(inspect.getdoc(thing))}\n")
        if inspect.isclass(thing):
            for member, value in vars(thing).items():
                function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
                if inspect.isfunction(function) and not member.startswith("_"):
                    bound = getattr(thing, member) if isinstance(value, classmethod) else function
                    out.append(f"### {name}.{member}\n\n{signature(member, bound)}\n\n{paragraphs(inspect.getdoc(function))}\n")
    return "\n" + "\n".join(out) + "\n"


def signature(name: str, thing: Any) -> str:
    """How it is called, an argument a line."""
    parameters = []
    seen_star = False
    for parameter in inspect.signature(thing).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not seen_star:
            parameters.append("*")
            seen_star = True
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        if parameter.name != "self":
            parameters.append(f"{parameter.name}: {parameter.annotation}{default}")
    return f"```text\n{name}(\n" + "".join(f"    {p},\n" for p in parameters) + ")\n```"


def keys_text() -> str:
    """All config keys, a section a heading."""
    out = []
    for part in ("calib", "output", "runtime"):
        names = [f"calib.{name}" for name in section("calib").model_fields] if part == "calib" else [part]
        out += [f"## {name}\n\n{config_table(name)}" for name in names]
    return "\n" + "\n".join(out) + "\n"


def variables_table(specs: dict[str, Var]) -> str:
    """Variables with their dimensions, units and meaning."""
    kinds = {"f": "float", "u": "unsigned", "i": "integer", "b": "bool"}
    return table(
        ["variable", "dimensions", "kind", "units", "meaning"],
        [[f"`{n}`", ", ".join(v.dims) or "scalar", kinds[v.kinds[0]], v.units, v.doc] for n, v in specs.items()],
    )


def dq_table() -> str:
    """Data-quality bits, lowest first."""
    rows = [[str(int(flag).bit_length() - 1), f"`{flag.name}`", str(int(flag)), text] for flag, text in DESCRIPTIONS.items()]
    return table(["bit", "name", "value", "meaning"], rows)


def distrust_table() -> str:
    """The rules that rank visits in the report."""
    rows = [[f"`{rule.key}`", f"{'<' if rule.below else '>'} {rule.limit:g}{rule.unit}", rule.says] for rule in RULES]
    return table(["number", "a reason where", "meaning"], rows)


def flat_dump(model: BaseModel) -> dict[str, object]:
    """{dotted path: value} of a config."""

    def walk(tree: object, path: str) -> Iterator[tuple[str, object]]:
        if isinstance(tree, dict):
            for name, value in tree.items():
                yield from walk(value, f"{path}.{name}" if path else str(name))
        else:
            yield path, tree

    return dict(walk(model.model_dump(), ""))


def profiles_table() -> str:
    """The shipped profiles: the comment at the head of each, and where it differs from nominal."""
    base, rows = flat_dump(load("calib/nominal")), []
    for name in ("fast", "nominal", "strict", "official"):
        lines = (profiles_dir() / "calib" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        about = [line.lstrip("# ") for line in lines if line.startswith("#") and "@package" not in line]
        changed = {k: yaml.safe_dump(v).splitlines()[0] for k, v in flat_dump(load(f"calib/{name}")).items() if v != base[k]}
        rows.append([f"`calib/{name}`", " ".join(about), "<br>".join(_by_stage(changed)) or "(the defaults)"])
    return table(["profile", "for", "differs from nominal in"], rows)


def _by_stage(values: dict[str, str]) -> list[str]:
    """`key=value` of dotted keys; one line for a key that several stages give the same value."""
    stages: dict[tuple[str, str], list[str]] = {}
    for key, value in values.items():
        head, stage, rest = key.split(".", 2) if key.startswith("calib.") else ("", "", key)
        stages.setdefault((f"{head}.{{}}.{rest}" if head else rest, value), []).append(stage)
    names = {k: v[0] if len(v) == 1 else "{" + ",".join(v) + "}" for k, v in stages.items()}
    return [f"`{key.replace('{}', names[key, value])}={value}`" for key, value in stages]


GENERATORS: dict[str, Callable[..., str]] = {
    "config": config_table,
    "cli": cli_table,
    "raw": lambda: variables_table(RAW_VISIT),
    "products": lambda: variables_table(CALIBRATED),
    "commands": commands_text,
    "api": api_text,
    "keys": keys_text,
    "dq": dq_table,
    "distrust": distrust_table,
    "profiles": profiles_table,
}


def render(text: str) -> str:
    """A page with its generated tables made anew. Raises ConfigError for a name that no generator has."""

    def fill(match: re.Match[str]) -> str:
        kind, *rest = match["name"].split()
        if kind not in GENERATORS:
            raise ConfigError(f"no generated table '{kind}'; there are {', '.join(GENERATORS)}")
        return f"{match[1]}{GENERATORS[kind](*rest)}{match[3]}"

    return _BLOCK.sub(fill, text)


def pages() -> list[Path]:
    """README.md and every page under docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def unknown_meanings() -> list[str]:
    """Entries of MEANINGS whose key is not in the config models any more."""
    return sorted(set(MEANINGS) - set(flat_dump(RunConfig())))


def stale() -> list[Path]:
    """Pages whose tables are not what the code says."""
    return [page for page in pages() if render(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")]


def main(argv: list[str] | None = None) -> int:
    """Rewrite or check the pages; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a page is stale")
    args = parser.parse_args(argv)
    gone = unknown_meanings()
    for key in gone:
        print(
            f"scripts/gen_docs.py explains {key}, which is no key of the config: remove it from MEANINGS",
            file=sys.stderr,
        )
    for page in stale():
        name = page.relative_to(ROOT)
        if args.check:
            print(f"{name} has a stale table: run python scripts/gen_docs.py", file=sys.stderr)
            gone.append(str(name))
        else:
            page.write_text(render(page.read_text(encoding="utf-8")), encoding="utf-8")
            print(f"rewrote {name}")
    return 1 if gone else 0


if __name__ == "__main__":
    sys.exit(main())

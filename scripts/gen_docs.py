"""Writes the tables of README.md and docs/ that come from the code; `--check` fails where one is stale.

    python scripts/gen_docs.py            # rewrite the tables in place
    python scripts/gen_docs.py --check    # exit 1 and name the files that would change

A table stands between `<!-- begin: NAME -->` and `<!-- end: NAME -->`. NAME is one of: `config PATH` (keys of a section of
the config models), `cli COMMAND` (its options), `raw`, `products`, `commands`, `api`, `plot`, `keys`, `dq`, `distrust`,
`distrust planets`, `profiles`, `methods` (kinds that are open to registration).
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
import v50calib.plot
from v50calib.cli.main import main as program
from v50calib.config import load
from v50calib.config.compose import profiles_dir
from v50calib.config.models import RunConfig
from v50calib.dq import DESCRIPTIONS
from v50calib.errors import ConfigError
from v50calib.methods.choice import Registered
from v50calib.methods.kinds import KINDS
from v50calib.qc.distrust import PLANET_RULES, RULES
from v50calib.schema import CALIBRATED, RAW_VISIT, Var

#: rules of the tables `distrust` and `distrust planets`
DISTRUSTED = {"visits": RULES, "planets": PLANET_RULES}
ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"(<!-- begin: (?P<name>[^>]+?) -->\n).*?(<!-- end: (?P=name) -->)", re.DOTALL)
_SIGNS = {"Ge": ("ge", "≥"), "Gt": ("gt", ">"), "Le": ("le", "≤"), "Lt": ("lt", "<")}


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; a `|` inside a cell is escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines) + "\n"


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
    if origin is typing.Annotated and isinstance(arguments[1], Registered):
        return "a registered method"
    if origin is dict:
        return "names and values"
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
    """Keys, defaults, accepted values and meaning (the fields' descriptions) of a section."""
    defaults = flat_dump(RunConfig())
    rows = [[f"`{full}`", shown(defaults[full]), accepted(field), field.description or ""] for full, field in keys(section(path), path)]
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
    """A docstring or a help text as Markdown; what is indented or kept in its lines becomes a block of text, an example a session."""
    parts = []
    for part in inspect.cleandoc(text or "").split("\n\n"):
        lines = part.strip("\n").removeprefix("\b\n")
        session = lines.lstrip().startswith(">>>")
        as_block = session or "\b" in part or any(line.startswith(" ") or "  " in line.strip() for line in lines.splitlines())
        kind = "pycon" if session else "text"
        parts.append(f"```{kind}\n{inspect.cleandoc(lines)}\n```" if as_block else " ".join(lines.split()))
    return "\n\n".join(parts)


def plot_text() -> str:
    """Signature and docstring of every figure of `v50calib.plot`."""
    parts = [(name, getattr(v50calib.plot, name)) for name in sorted(v50calib.plot.__all__)]
    return "\n" + "\n".join(f"## {n}\n\n{signature(n, f)}\n\n{paragraphs(inspect.getdoc(f))}\n" for n, f in parts) + "\n"


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
    """How it is called, each argument on a line of its own."""
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
    """All config keys, under a heading for each section."""
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


def distrust_table(of: str = "visits") -> str:
    """The rules that rank visits, or planets, in the report."""
    rows = [[f"`{rule.key}`", f"{'<' if rule.below else '>'} {rule.limit:g}{rule.unit}", rule.says] for rule in DISTRUSTED[of]]
    return table(["number", "a reason where", "meaning"], rows)


def flat_dump(model: BaseModel) -> dict[str, object]:
    """{dotted path: value} of a config."""

    def walk(tree: object, path: str) -> Iterator[tuple[str, object]]:
        if isinstance(tree, dict) and tree:
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


def methods_table() -> str:
    """The kinds of method that can be registered."""
    rows = [[f"`{name}`", f"`calib.{kind.key}`", f"`calib.{kind.options}`", f"`{kind.called}`"] for name, kind in KINDS.items()]
    return table(["kind", "chosen by", "its parameters", "is called as, and gives"], rows)


GENERATORS: dict[str, Callable[..., str]] = {
    "config": config_table,
    "cli": cli_table,
    "raw": lambda: variables_table(RAW_VISIT),
    "products": lambda: variables_table(CALIBRATED),
    "commands": commands_text,
    "api": api_text,
    "plot": plot_text,
    "keys": keys_text,
    "dq": dq_table,
    "distrust": distrust_table,
    "profiles": profiles_table,
    "methods": methods_table,
}


def render(text: str) -> str:
    """A page with its generated tables rewritten. Raises ConfigError for a name that no generator has."""

    def fill(match: re.Match[str]) -> str:
        kind, *rest = match["name"].split()
        if kind not in GENERATORS:
            raise ConfigError(f"no generated table '{kind}'; there are {', '.join(GENERATORS)}")
        return f"{match[1]}{GENERATORS[kind](*rest)}{match[3]}"

    return _BLOCK.sub(fill, text)


def pages() -> list[Path]:
    """README.md and every page under docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def stale() -> list[Path]:
    """Pages whose tables are not what the code says."""
    return [page for page in pages() if render(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")]


def main(argv: list[str] | None = None) -> int:
    """Rewrite or check the pages; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a page is stale")
    args = parser.parse_args(argv)
    found = stale()
    for page in found:
        name = page.relative_to(ROOT)
        if args.check:
            print(f"{name} has a stale table: run python scripts/gen_docs.py", file=sys.stderr)
        else:
            page.write_text(render(page.read_text(encoding="utf-8")), encoding="utf-8")
            print(f"rewrote {name}")
    return 1 if found and args.check else 0


if __name__ == "__main__":
    sys.exit(main())

"""Registered methods on their way to workers: those that no worker can import travel as they are, installed ones are compared."""

from __future__ import annotations

from typing import Any

from distributed.protocol.pickle import dumps, loads

from v50calib.config.models import RunConfig
from v50calib.config.provenance import methods_of
from v50calib.errors import ConfigError
from v50calib.methods.registry import install, known_as, method_of


def packed_methods(config: RunConfig) -> bytes:
    """The registered methods of a config for `unpack_methods`; empty: none. Functions of a notebook go by value (cloudpickle).

    Raises ConfigError for a function that cannot be sent.
    """
    methods = methods_of(config)
    if not methods:
        return b""
    carried = [method for method in methods if not method.installed]
    try:
        content = {
            "carried": dumps(carried),
            "known": [m.identity for m in carried],
            "installed": [m.identity for m in methods if m.installed],
        }
        return bytes(dumps(content))
    except Exception as exc:
        named = ", ".join(map(str, carried))
        raise ConfigError(
            f"{named} cannot be sent to workers ({exc}): it holds something that cannot be copied; make that inside the function, or "
            "install the method as a plug-in"
        ) from exc


def unpack_methods(packed: bytes) -> None:
    """Make the methods of a task known in this process. Raises ConfigError where this process has another version of an installed one, or
    not the module that one is of."""
    if not packed:
        return
    sent: dict[str, Any] = loads(packed)
    try:
        # a cell that ran again has left another method under the same name
        if any(known_as(wanted) != wanted for wanted in sent["known"]):
            install(loads(sent["carried"]))
    except ImportError as exc:
        raise ConfigError(
            f"a registered method's module is not there on this worker ({exc}): install it as a plug-in on all workers, or define the "
            "method in the notebook itself"
        ) from exc
    for wanted in sent["installed"]:
        here = method_of(wanted["kind"], wanted["name"])
        if here.identity != wanted:
            raise ConfigError(
                f"{here} on this worker is not that of the run's driver ({wanted['origin']}, sha256 {wanted['sha256'][:12]}, here "
                f"{here.sha256[:12]}): install the same version on all workers"
            )

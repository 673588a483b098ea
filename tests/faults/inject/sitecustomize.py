"""Faults for the processes of a run, put in when a module is imported: first on PYTHONPATH, read from V50_FAULTS (JSON).

A fault is {module, attr, action, times, marker, when, skip}: the function `attr` of `module` does `action` before its work, `times`
times over all processes (files marker.0, marker.1, … count them), where `when` is found in its first argument; `skip` calls before
that are counted and left alone, and `times` 0 means every time. The action set:VALUE (JSON) replaces the constant `attr` instead.
"""

from __future__ import annotations

import errno
import functools
import importlib.abc
import importlib.util
import json
import os
import signal
import sys
import time
from pathlib import Path


def act(action: str, marker: str) -> None:
    word, _, rest = action.partition(":")
    if word == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "errno":
        number = getattr(errno, rest)
        raise OSError(number, os.strerror(number))
    elif word == "sleep":
        time.sleep(float(rest))
    elif word == "shell":
        os.system(rest)
    elif word == "hold":
        until = time.monotonic() + 120
        while not Path(rest).exists() and time.monotonic() < until:
            time.sleep(0.05)
    elif word == "remove":
        Path(rest).unlink()
    elif word == "truncate":
        os.truncate(rest, Path(rest).stat().st_size // 2)
    elif word == "readonly":
        os.system(f"mount --bind {rest} {rest} && mount -o remount,bind,ro {rest}")
    elif word == "hog":
        held = bytearray(int(rest))
        held[::4096] = b"x" * len(held[::4096])
        time.sleep(20)
    elif word == "patience":
        sys.modules["v50calib.io.storage.objects"].PATIENCE_S = float(rest)
    else:
        raise ValueError(f"unknown fault {action} ({marker})")


def wrapped(function, fault):
    @functools.wraps(function)
    def faulty(*args, **kwargs):
        if fault.get("when", "") in str(args[0] if args else ""):
            if fault["action"].startswith("below:"):
                # the function's own argument: where /proc and /sys are
                return function(Path(fault["action"].removeprefix("below:")))
            skip, times = fault.get("skip", 0), fault.get("times", 1)
            if times == 0:
                Path(f"{fault['marker']}.0").touch()
                act(fault["action"], "every time")
            for number in range(skip + times if times else 0):
                path = f"{fault['marker']}.{number}"
                try:
                    os.close(os.open(path, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    continue
                if number >= skip:
                    act(fault["action"], path)
                break
        return function(*args, **kwargs)

    return faulty


def install(module, faults) -> None:
    for fault in faults:
        names, holder = fault["attr"].split("."), module
        for name in names[:-1]:
            holder = getattr(holder, name)
        if fault["action"].startswith("set:"):
            setattr(holder, names[-1], json.loads(fault["action"].removeprefix("set:")))
            continue
        setattr(holder, names[-1], wrapped(getattr(holder, names[-1]), fault))


class Finder(importlib.abc.MetaPathFinder):
    def __init__(self, faults) -> None:
        self.faults = {}
        for fault in faults:
            self.faults.setdefault(fault["module"], []).append(fault)

    def find_spec(self, name, path=None, target=None):
        if name not in self.faults:
            return None
        faults = self.faults.pop(name)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module) -> None:
            execute(module)
            install(module, faults)

        spec.loader.exec_module = exec_module
        return spec


def jumping_clock() -> None:
    """time.time jumps a day ahead, two days back and a day ahead again, every 4 s of the process."""
    real, began = time.time, time.monotonic()

    def jumped() -> float:
        return real() + (0, 86400, -86400)[int((time.monotonic() - began) / 4) % 3]

    time.time = jumped


def early_clock() -> None:
    """time.time and time.time_ns are 60 years back: before 1970, negative."""
    real, real_ns, years = time.time, time.time_ns, 60 * 365 * 86400
    time.time = lambda: real() - years
    time.time_ns = lambda: real_ns() - years * 10**9


#: modules that are there before any fault can be put in while they are imported
EARLY = ("pathlib", "fcntl")

if "V50_FAULTS" in os.environ:
    given = json.loads(os.environ["V50_FAULTS"])
    clocks = {"clock": jumping_clock, "clock before 1970": early_clock}
    for fault in given:
        clocks.get(fault["action"], int)()
    given = [f for f in given if f["action"] not in clocks]
    for name in EARLY:
        early = [f for f in given if f["module"] == name]
        if early:
            install(importlib.import_module(name), early)
    sys.meta_path.insert(0, Finder([f for f in given if f["module"] not in EARLY]))

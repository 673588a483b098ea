"""Methods of one's own, registered from a notebook or an installed plug-in, and chosen by an override as the built-in ones are."""

from v50calib.methods.kinds import KINDS
from v50calib.methods.registry import Method, Options, find, names, register

__all__ = ["KINDS", "Method", "Options", "find", "names", "register"]

"""The exceptions of `sim`: each is a mistake of the caller, said so that it can be mended."""

from collections.abc import Iterable

from traces.errors import nearest


class SimError(Exception):
    """Base of every expected error of this package."""


class UnknownNameError(SimError, ValueError):
    """A GPU type, model or router that nobody has registered; the message names the nearest one."""


class ConfigError(SimError, ValueError):
    """A config.json that is not understood.

    Attributes:
        where: The file or entry.
        key: The key in it, dotted; empty if it is the whole.
        problem: What is wrong with it, and what is allowed.
    """

    def __init__(self, where: str, key: str, problem: str) -> None:
        super().__init__(where, key, problem)
        self.where, self.key, self.problem = where, key, problem

    def __str__(self) -> str:
        return ": ".join(part for part in (self.where, self.key, self.problem) if part)


class DeploymentError(SimError, ValueError):
    """A replica that cannot run: it does not fit in memory, or its stages do not add up to the model."""


class SettingsError(SimError, ValueError):
    """A setting of a run or of a service-time model that makes no sense."""


class ProfileError(SimError, ValueError):
    """Measured iteration times that cannot be used; the message names file, column and row."""


class ResultError(SimError, ValueError):
    """A result directory that is missing, unfinished or not ours."""


def check_name(noun: str, name: str, known: Iterable[str]) -> None:
    """Make sure that a name is known.

    Raises:
        UnknownNameError: It is not; the message names the nearest.
    """
    names = tuple(known)
    if name not in names:
        msg = f"unknown {noun} {name!r}: {nearest(name, names)}"
        raise UnknownNameError(msg)

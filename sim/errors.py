"""The exceptions of `sim`: each is a mistake of the caller, said so that it can be mended."""


class SimError(Exception):
    """Base of every expected error of this package."""


class UnknownNameError(SimError, LookupError):
    """A GPU type, model or router that nobody has registered; the message names the nearest one."""


class DeploymentError(SimError, ValueError):
    """A replica that cannot run: it does not fit in memory, or its stages do not add up to the model."""


class ResultError(SimError, ValueError):
    """A result directory that is missing, unfinished or not ours."""

"""The exceptions of `planners`: each is a mistake of the caller. A problem without a plan is not one of them."""


class PlannerError(ValueError):
    """Base of every expected error of this package; the message says where, what and what is allowed."""


class UnknownPlannerError(PlannerError, LookupError):
    """A planner that nobody has registered; the message names the nearest one."""


class PlannerOptionsError(PlannerError):
    """Options that a planner does not have or does not accept."""

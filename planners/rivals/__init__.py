"""One planner, one file: the baselines and the planners of other papers."""

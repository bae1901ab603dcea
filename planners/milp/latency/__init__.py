"""The objective `latency` for `milp`: its MILP, the search, and the plan."""

"""Runs: a planner's fleet serves the requests of a scenario, and what came of it is kept."""

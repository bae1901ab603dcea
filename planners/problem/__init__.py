"""What a planner is asked and what it answers: candidates, demand, the problem, the plan."""

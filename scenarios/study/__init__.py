"""Questions over several runs or plans: comparisons, stress, capacities, explanations."""

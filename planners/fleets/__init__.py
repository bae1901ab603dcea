"""What planners are built of: shares for a fleet, fleets for a budget, bounds, and the judge of plans."""

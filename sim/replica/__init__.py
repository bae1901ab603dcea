"""What a replica does: the scheduler's rules, its batches, its KV blocks and the loops over iterations."""

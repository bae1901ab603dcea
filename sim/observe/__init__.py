"""What replicas do, step by step: noted by an observer while they run, where somebody wants to look at that."""

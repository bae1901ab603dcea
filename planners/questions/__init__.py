"""What is asked about a plan: why it is so, what another market or budget would give."""

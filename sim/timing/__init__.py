"""How long an iteration takes: the service-time models, and what they are fitted to."""

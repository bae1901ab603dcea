"""Several models, planned one by one at prices for what they share."""

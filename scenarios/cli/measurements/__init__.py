"""Commands that compare with measurements, and fit to them."""

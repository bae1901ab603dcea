"""Unit conversions, by name, so that no bare power of ten stands in a formula."""

GIB = 2**30
GIGA = 1e9
TERA = 1e12
MILLI = 1e-3
MICRO = 1e-6
HOUR_S = 3600.0

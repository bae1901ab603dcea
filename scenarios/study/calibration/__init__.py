"""Calibration: a few physical parameters of a server, fitted to a part of what was measured on it."""

"""Scenario files: what they may say, and reading them with all that is wrong."""

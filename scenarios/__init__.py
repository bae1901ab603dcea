"""Scenarios: files that ask a question, runs that answer it, and comparisons of the answers."""

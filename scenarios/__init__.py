"""Scenarios: files that ask a question, runs that answer it, and comparisons of the answers.

`file` reads a scenario, `inputs` makes of it what the other packages work with, `runs` plans and simulates, `study`
asks over several runs or plans, `report` prints and draws, `cli` is the command line. Each imports those before it.
"""

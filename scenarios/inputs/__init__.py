"""From a loaded scenario to what the other packages work with: traces, markets, settings, problems."""

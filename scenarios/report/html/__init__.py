"""The page that one sends to a colleague: finished runs as one HTML file that needs no network."""

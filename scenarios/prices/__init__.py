"""Price lists that people have, read as offers of a market."""

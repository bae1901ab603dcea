"""What a replica can do: candidates of a market and their capacities, in closed form or measured."""

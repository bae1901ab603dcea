"""Who sends requests: clients, users in a closed loop, and the front end that their requests pass."""

"""Who sends requests, and when: clients, users in a closed loop, and the front end that their requests pass."""

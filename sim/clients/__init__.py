"""Who sends requests: clients that give up and try again, the front end before them, users who wait for answers."""

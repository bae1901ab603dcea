"""What was measured on real servers: results of load generators, and what is known of the server that they loaded."""

"""A real cluster on one machine, without root."""

"""One concern a file; the order stands in `planner/policy.py`."""

"""Replaying histories: what updates would have cost with a planner. Pure."""

"""Conflict between the data sets of a run: how to see it, and what a model tells about where an image comes from."""

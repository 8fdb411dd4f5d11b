"""Weights of others made into runs, and runs published on the Hugging Face hub and fetched from there."""

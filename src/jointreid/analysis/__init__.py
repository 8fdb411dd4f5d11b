"""Comparisons, reports and figures of finished runs."""

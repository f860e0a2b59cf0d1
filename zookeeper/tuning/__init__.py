"""Tuning: recipes, the loop they share, and the metrics they are judged by."""

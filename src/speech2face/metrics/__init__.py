"""Metrics: pure functions, arrays in and numbers out, each with its formula, direction, chance level and source."""

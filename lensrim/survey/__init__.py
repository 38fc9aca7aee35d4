"""Surveys: many lenses, each with its product, one table of them all, and a page to look at."""

"""Starts, places, watches, replaces and stops the parts of a job; the command line."""

"""Watts: demand of the machines, caps, and the sources that carry them."""

"""Choosing a layout, a number of GPUs and a power cap."""

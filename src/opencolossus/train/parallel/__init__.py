"""Parallelism, applied to the network from outside, in one order.

1. the parts of the network that this process holds (pipeline stages), on the meta device;
2. tensor and sequence parallel: heads and inner sizes cut, tokens of a row spread;
3. expert parallel: whole experts spread, rows sent to them and back;
4. context parallel: rows cut, keys and values gathered;
5. activation checkpointing;
6. first values, each a function of the seed and the weight's name alone;
7. fully sharded data parallel, or replicas.
"""

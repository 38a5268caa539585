"""Parallelism, applied to the network from outside, in one order.

1. the parts of the network that this process holds (pipeline stages), on the meta device;
2. each weight cut to this process's piece (tensor and expert parallel);
3. tensor and sequence parallel: tokens of a row gathered before a cut product and spread after it;
4. expert parallel: rows sent to their experts and back;
5. context parallel: rows cut, keys and values gathered;
6. activation checkpointing;
7. what replicas share: fully sharded, or in a lesser degree;
8. memory for what is left to this process, and first values, each a function of the seed and the
   weight's name alone.
"""

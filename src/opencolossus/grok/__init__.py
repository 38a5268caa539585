"""The network: attention, experts, blocks, head; its cache, its first weights, its files."""

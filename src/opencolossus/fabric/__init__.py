"""The network between GPUs as a graph of switches and links."""

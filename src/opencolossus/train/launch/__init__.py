"""Starting a run on many nodes, by torchrun, Slurm or Kubernetes; torch is not imported here."""

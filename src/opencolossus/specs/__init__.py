"""What people write: Site, Cluster, Model, Run; units; the catalog."""

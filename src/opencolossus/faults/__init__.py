"""What breaks, how often, and what a run loses by it."""

"""Pictures and pages, from records alone."""

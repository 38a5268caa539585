"""Files that are copied into an export for transformers to run; nothing here imports them."""

"""What one training step costs, as NumPy functions over arrays of layouts."""

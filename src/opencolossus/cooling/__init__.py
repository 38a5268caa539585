"""Heat from chip to tower, and the water that it costs."""

"""Laws of the threshold."""

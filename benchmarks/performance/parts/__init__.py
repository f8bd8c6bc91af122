"""The parts of the benchmark: each measures in rounds and says what it found as plain values."""

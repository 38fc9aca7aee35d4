"""The engine: trains any module on any batches, and goes on where it was stopped."""

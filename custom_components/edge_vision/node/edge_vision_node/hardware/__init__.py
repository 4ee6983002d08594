"""The hardware of this device and its current state."""

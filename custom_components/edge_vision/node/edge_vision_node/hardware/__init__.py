"""What this device is and how it feels."""

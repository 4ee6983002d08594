"""The steps of the flows in the UI."""

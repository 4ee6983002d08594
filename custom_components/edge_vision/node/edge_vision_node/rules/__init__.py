"""Rules: pure functions that turn results over time into events. Time is passed in."""

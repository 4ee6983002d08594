"""Tests of the hub side, in a real Home Assistant and mostly with the real node."""

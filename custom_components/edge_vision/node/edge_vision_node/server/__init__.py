"""The node's websocket API."""

"""Stands in for pymicro-vad, which has no wheel for Python 3.14 and would need a compiler.

Home Assistant's frontend asks for the services of all components, and one of them imports this.
Voice is not part of the demo and the tests: whoever tries to use it here is told so.
"""


class MicroVad:
    """Cannot be made."""

    def __init__(self) -> None:
        """Say why."""
        raise RuntimeError("Voice is not available in this demo instance")

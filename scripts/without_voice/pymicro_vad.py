"""Stand-in for pymicro-vad, which has no wheel for Python 3.14 and would need a compiler.

The frontend of Home Assistant requests the services of all components, and one of them imports this
package. Voice is not part of the demo and the tests; using it raises an error.
"""


class MicroVad:
    """A stand-in that cannot be created."""

    def __init__(self) -> None:
        """Raise an error with the reason."""
        raise RuntimeError("Voice is not available in this demo instance")

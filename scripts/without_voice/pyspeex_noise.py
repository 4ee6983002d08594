"""Stand-in for pyspeex-noise, for the same reason as pymicro_vad.py."""


class AudioProcessor:
    """A stand-in that cannot be created."""

    def __init__(self, *_: object) -> None:
        """Raise an error with the reason."""
        raise RuntimeError("Voice is not available in this demo instance")

"""Stands in for pyspeex-noise, as pymicro_vad.py beside it does for its package."""


class AudioProcessor:
    """Cannot be made."""

    def __init__(self, *_: object) -> None:
        """Say why."""
        raise RuntimeError("Voice is not available in this demo instance")

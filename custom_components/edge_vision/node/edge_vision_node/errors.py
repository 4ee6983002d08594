"""What can go wrong in a node, by what the user can do about it."""

from __future__ import annotations

from .protocol import ErrorCode


class NodeError(Exception):
    """A failure with a code for programs and a sentence for people."""

    code = ErrorCode.INTERNAL


class PictureError(NodeError):
    """The picture cannot be read: broken, of an unknown format, or too large."""

    code = ErrorCode.BAD_PICTURE


class EngineMissingError(NodeError):
    """The engine's package is not installed, or does not work on this machine."""

    code = ErrorCode.ENGINE_MISSING


class AcceleratorError(NodeError):
    """The engine has no such accelerator here."""

    code = ErrorCode.UNKNOWN_ACCELERATOR


class ModelError(NodeError):
    """The model's files are damaged, or the engine cannot load them."""

    code = ErrorCode.MODEL_FAILED


class UnknownModelError(NodeError):
    """The node holds no such model."""

    code = ErrorCode.UNKNOWN_MODEL


class InferenceError(NodeError):
    """The engine failed while it ran a model."""

    code = ErrorCode.INFERENCE_FAILED


class WorkerError(InferenceError):
    """The process that runs the engine crashed, or did not answer in time.

    `reason`: why, without the process's name. `begun`: this very order was being executed then, and
    what became of the process is its doing. `timed_out`: it took too long, and the process was
    ended for that. `killed`: somebody else ended it, mostly the kernel for want of memory.
    """

    code = ErrorCode.ENGINE_CRASHED

    def __init__(
        self,
        text: str,
        *,
        reason: str = "",
        begun: bool = False,
        timed_out: bool = False,
        killed: bool = False,
    ) -> None:
        """Keep all of it."""
        super().__init__(text)
        self.reason = reason or text
        self.begun = begun
        self.timed_out = timed_out
        self.killed = killed


class AcceleratorFailedError(InferenceError):
    """The accelerator loads the model, and fails again and again when it runs it."""


class ModelLoadingError(NodeError):
    """The model is being loaded or compiled; it is not known yet whether it can be used."""

    code = ErrorCode.MODEL_LOADING


class SupersededError(NodeError):
    """A newer frame of the same pipeline took this one's place."""

    code = ErrorCode.SUPERSEDED


class UnknownPipelineError(NodeError):
    """The node has no such pipeline."""

    code = ErrorCode.UNKNOWN_PIPELINE


class ConfigurationError(NodeError):
    """The pipeline's configuration cannot be understood."""

    code = ErrorCode.BAD_MESSAGE


class NoPictureError(NodeError):
    """The pipeline has had no event yet, so there is no picture of one."""

    code = ErrorCode.NO_PICTURE


class FrameGoneError(NodeError):
    """The camera's process does not keep this frame: too old, lost, or too many are kept."""

    code = ErrorCode.FRAME_GONE


class StorageError(NodeError):
    """The result log cannot be opened, read or written."""

    code = ErrorCode.STORAGE_FAILED


class NewerLogError(StorageError):
    """The result log was written by a newer version, and is left as it is."""


class DownloadError(NodeError):
    """A file cannot be fetched: no network, a server that refuses, or not the file it should be."""

    code = ErrorCode.DOWNLOAD_FAILED


class QuarantinedError(ModelError):
    """The model crashed its engine, and is not used until somebody says so."""

    code = ErrorCode.MODEL_QUARANTINED


class BusyError(NodeError):
    """What was asked for is being done already."""

    code = ErrorCode.BUSY


class CameraError(NodeError):
    """The camera's live video is not there."""

    code = ErrorCode.CAMERA_UNAVAILABLE


class CommandLineError(NodeError):
    """A wrong option or combination of options."""

    code = ErrorCode.BAD_MESSAGE


_BY_CODE: dict[str, type[NodeError]] = {
    error.code: error
    for error in (
        PictureError,
        EngineMissingError,
        AcceleratorError,
        ModelError,
        UnknownModelError,
        InferenceError,
        FrameGoneError,
    )
}


def error_of(code: str, message: str) -> NodeError:
    """Return the error that a worker reported, with its type."""
    return _BY_CODE.get(code, NodeError)(message)

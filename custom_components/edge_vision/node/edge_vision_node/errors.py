"""The errors of a node, grouped by what the user can do about them."""

from __future__ import annotations

from .protocol import ErrorCode


class NodeError(Exception):
    """A failure with a code for programs and a message for users."""

    code = ErrorCode.INTERNAL


class PictureError(NodeError):
    """The picture cannot be read: damaged, in an unknown format, or too large."""

    code = ErrorCode.BAD_PICTURE


class EngineMissingError(NodeError):
    """The package of the engine is not installed or does not work on this machine."""

    code = ErrorCode.ENGINE_MISSING


class AcceleratorError(NodeError):
    """The engine does not have this accelerator on this machine."""

    code = ErrorCode.UNKNOWN_ACCELERATOR


class ModelError(NodeError):
    """The files of the model are damaged, or the engine cannot load them."""

    code = ErrorCode.MODEL_FAILED


class UnknownModelError(NodeError):
    """The node does not have this model."""

    code = ErrorCode.UNKNOWN_MODEL


class InferenceError(NodeError):
    """The engine failed while running a model."""

    code = ErrorCode.INFERENCE_FAILED


class WorkerError(InferenceError):
    """The process of the engine crashed or did not respond in time.

    `reason`: the reason without the name of the process. `begun`: this command was being executed
    and caused the end of the process. `timed_out`: it took too long, and the process was killed for
    that. `killed`: the process was killed from outside, mostly by the kernel because of low memory.
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
        """Initialize the error."""
        super().__init__(text)
        self.reason = reason or text
        self.begun = begun
        self.timed_out = timed_out
        self.killed = killed


class AcceleratorFailedError(InferenceError):
    """The accelerator loads the model, but fails repeatedly to run it."""


class ModelLoadingError(NodeError):
    """The model is being loaded or compiled; whether it can be used is not known yet."""

    code = ErrorCode.MODEL_LOADING


class SupersededError(NodeError):
    """A newer frame of the same pipeline replaced this one."""

    code = ErrorCode.SUPERSEDED


class UnknownPipelineError(NodeError):
    """The node does not have this pipeline."""

    code = ErrorCode.UNKNOWN_PIPELINE


class ConfigurationError(NodeError):
    """The configuration of the pipeline is invalid."""

    code = ErrorCode.BAD_MESSAGE


class NoPictureError(NodeError):
    """The pipeline has had no event yet, so there is no picture of one."""

    code = ErrorCode.NO_PICTURE


class FrameGoneError(NodeError):
    """The process of the camera no longer has this frame: too old, lost, or too many frames."""

    code = ErrorCode.FRAME_GONE


class StorageError(NodeError):
    """The result log cannot be opened, read or written."""

    code = ErrorCode.STORAGE_FAILED


class NewerLogError(StorageError):
    """The result log was written by a newer version and is not changed."""


class DownloadError(NodeError):
    """A download failed: no network, a rejected request, or an unexpected file."""

    code = ErrorCode.DOWNLOAD_FAILED


class QuarantinedError(ModelError):
    """The model crashed its engine and is disabled until the user allows it."""

    code = ErrorCode.MODEL_QUARANTINED


class BusyError(NodeError):
    """The requested operation is already running."""

    code = ErrorCode.BUSY


class CameraError(NodeError):
    """The live video of the camera is not available."""

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
    """Return the error reported by a worker, with its type."""
    return _BY_CODE.get(code, NodeError)(message)

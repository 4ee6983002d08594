"""Test an engine before it is saved, with a node that runs for one self test."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from homeassistant.core import HomeAssistant

from ..api.client import (
    COMPILE_TIMEOUT_S,
    NodeClient,
    NodeCommandError,
    NodeDisconnected,
    NodeRequestError,
    NodeTimeout,
    NodeVersionMismatch,
    Progress,
)
from ..api.link import NodeStartError
from ..node.edge_vision_node.protocol import (
    Benchmark,
    BenchmarkProgress,
    BenchmarkRequest,
    Command,
    DetectedObject,
    ErrorCode,
    NodeInfo,
    SelfTest,
    SelfTestRequest,
)
from .node_log import NODE_LEVEL, NodeLog
from .node_process import NodeProcess, describe_exit
from .requirements import EngineInstallError, engine_name, platform_name

_LOGGER = logging.getLogger(__name__)

# A slow board loads the model and runs it eleven times.
SELF_TEST_TIMEOUT_S = 120.0
_EXIT_STATUS_WAIT_S = 1.0
# For each engine and accelerator: short, because the user waits for the result.
BENCHMARK_SECONDS = 1.5
_TRACE = "Fatal Python error"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """The information of a node and the self test of an engine that it has passed."""

    info: NodeInfo
    test: SelfTest


class TrialError(Exception):
    """An engine cannot be used here.

    `key` is a text in the translations (`config.error`), `placeholders` what that text needs.
    """

    def __init__(self, key: str, **placeholders: str) -> None:
        """Initialize the error; as a string, it is a line for the log."""
        super().__init__(f"{key} {placeholders}")
        self.key = key
        self.placeholders = placeholders

    @classmethod
    def not_installed(cls, err: EngineInstallError) -> TrialError:
        """Return the error for a failed installation."""
        return cls("engine_not_installed", **(err.translation_placeholders or {}))


def in_words(objects: Iterable[DetectedObject]) -> str:
    """Return what was detected as text, such as "4 x person, 1 x car"."""
    counts = Counter(item.label for item in objects)
    return ", ".join(f"{count} x {label}" for label, count in counts.most_common())


async def async_try_engine(
    hass: HomeAssistant, engine: str, data_dir: Path, accelerator: str | None = None
) -> Trial:
    """Start a node, test an installed engine with it, and stop it.

    `accelerator`: None leaves it to the engine. Raises `TrialError`. However it ends, no process is
    left.
    """
    log = NodeLog()
    name = engine_name(engine)
    try:
        process = await NodeProcess.start(hass, data_dir, log)
    except NodeStartError as err:
        raise TrialError("node_not_started", error=str(err)) from err
    try:
        return await _test(process, engine, accelerator)
    except NodeDisconnected as err:
        raise await _crashed(process, log, name) from err
    except NodeTimeout as err:
        raise TrialError("node_silent", engine=name, error=str(err)) from err
    except NodeVersionMismatch as err:
        raise TrialError("version_mismatch", error=str(err)) from err
    except NodeCommandError as err:
        raise _failed(err, log, name) from err
    except NodeRequestError as err:
        raise TrialError("self_test_failed", engine=name, error=str(err)) from err
    finally:
        await process.stop()


async def async_benchmark(
    hass: HomeAssistant, data_dir: Path, listener: Callable[[BenchmarkProgress], None]
) -> Benchmark | None:
    """Start a node, measure every engine and accelerator, and stop it.

    Returns None where that fails, which the log tells: nothing depends on it.
    """
    try:
        process = await NodeProcess.start(hass, data_dir, NodeLog())
    except NodeStartError as err:
        _LOGGER.debug("No benchmark was made: %s", err)
        return None
    try:
        async with NodeClient() as client:
            await client.connect(process.socket, process.token)
            return await client.request(
                Command.BENCHMARK,
                BenchmarkRequest(seconds=BENCHMARK_SECONDS),
                Benchmark,
                timeout_s=COMPILE_TIMEOUT_S,
                progress=Progress(BenchmarkProgress, listener),
            )
    except NodeRequestError as err:
        _LOGGER.debug("No benchmark was made: %s", err)
        return None
    finally:
        await process.stop()


async def _test(process: NodeProcess, engine: str, accelerator: str | None) -> Trial:
    async with NodeClient() as client:
        await client.connect(process.socket, process.token)
        info = await client.request(Command.INFO, None, NodeInfo, timeout_s=SELF_TEST_TIMEOUT_S)
        test = await client.request(
            Command.SELF_TEST,
            SelfTestRequest(engine=engine, accelerator=accelerator),
            SelfTest,
            timeout_s=SELF_TEST_TIMEOUT_S,
        )
    if not test.passed:
        raise TrialError(
            "self_test_wrong",
            engine=engine_name(engine),
            expected=test.expected,
            found=in_words(test.objects) or "nothing",
        )
    return Trial(info=info, test=test)


def _failed(err: NodeCommandError, log: NodeLog, engine: str) -> TrialError:
    """Return the error for an engine that failed in its own process; the node still runs."""
    if "(SIGILL)" in err.message:
        return TrialError("processor_unsuitable", engine=engine, platform=platform_name())
    if err.code == ErrorCode.ENGINE_CRASHED:
        return TrialError("node_crashed", engine=engine, error=err.message, line=_last_line(log))
    key = "engine_unusable" if err.code == ErrorCode.ENGINE_MISSING else "self_test_failed"
    return TrialError(key, engine=engine, error=err.message)


def _last_line(log: NodeLog) -> str:
    """Return the last line of native code before the trace of a crash."""
    said = [line for line in log.lines if not NODE_LEVEL.match(line)]
    traces = [number for number, line in enumerate(said) if line.startswith(_TRACE)]
    said = said[: traces[-1]] if traces else said
    return next((line for line in reversed(said) if line), "-")


async def _crashed(process: NodeProcess, log: NodeLog, engine: str) -> TrialError:
    """Return the error for a node that ended; the exit status follows its socket's end."""
    try:
        async with asyncio.timeout(_EXIT_STATUS_WAIT_S):
            code = await process.wait()
    except TimeoutError:
        return TrialError("node_crashed", engine=engine, error="it hung up", line="")
    if code == -signal.SIGILL:
        return TrialError("processor_unsuitable", engine=engine, platform=platform_name())
    return TrialError(
        "node_crashed", engine=engine, error=describe_exit(code), line=_last_line(log)
    )

"""Which engine suits which machine, and that its package is installed only where it is missing."""

from __future__ import annotations

import os
import platform
import sys

import pytest
from homeassistant.core import HomeAssistant
from homeassistant.util import package

from custom_components.edge_vision.local_node import requirements
from custom_components.edge_vision.local_node.requirements import (
    ENGINE_REQUIREMENTS,
    async_install_engine,
    default_engine,
    platform_name,
)


@pytest.mark.parametrize(
    ("system", "machine", "libc", "engine"),
    [
        ("Linux", "x86_64", "glibc 2.41", "onnxruntime"),
        ("Linux", "aarch64", "glibc 2.41", "onnxruntime"),
        ("Linux", "x86_64", None, "ncnn"),  # musl: Home Assistant OS and the container image
        ("Linux", "aarch64", OSError(), "ncnn"),
        ("Linux", "armv7l", "glibc 2.41", "ncnn"),
        ("Linux", "riscv64", "glibc 2.41", "ncnn"),
        ("Darwin", "arm64", ValueError(), "onnxruntime"),
        ("Darwin", "x86_64", ValueError(), "ncnn"),
    ],
)
def test_the_engine_is_one_that_has_packages_for_the_machine(
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    machine: str,
    libc: str | Exception | None,
    engine: str,
) -> None:
    def confstr(_name: str) -> str | None:
        if isinstance(libc, Exception):
            raise libc
        return libc

    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "platform", system.lower())
    monkeypatch.setattr(os, "confstr", confstr)
    assert default_engine() == engine
    assert machine in platform_name()


def test_every_engine_is_pinned() -> None:
    assert ENGINE_REQUIREMENTS.keys() == requirements.ENGINE_NAMES.keys()
    assert all("==" in requirement for requirement in ENGINE_REQUIREMENTS.values())


async def test_a_package_that_is_there_is_not_installed_again(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> bool:
        raise AssertionError("nothing is to be installed")

    monkeypatch.setattr(package, "install_package", refuse)
    for engine in ENGINE_REQUIREMENTS:
        await async_install_engine(hass, engine)

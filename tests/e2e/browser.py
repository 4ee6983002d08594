"""The frontend of Home Assistant in a real browser: the Chromium of the system.

Screenshots are stored in the folder `EDGE_VISION_SCREENSHOTS`, if set.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from ha_client import HaClient
from playwright.async_api import Locator, Page, async_playwright

from tests.pictures import ROOT

DESKTOP, PHONE = (1280, 900), (390, 844)
_PATIENCE_MS = 120_000  # for busy machines; only a failure takes this long

# Content that is wider than its dialog or page: tables, long words, pictures.
_TOO_WIDE = """() => {
  const wide = [];
  const walk = (node) => {
    if (node.nodeName === "HA-MARKDOWN-ELEMENT" || node.nodeName === "HA-FORM") {
      for (const part of [node, ...node.querySelectorAll("*")])
        if (part.clientWidth && part.scrollWidth > part.clientWidth + 1)
          wide.push(part.nodeName + ": " + part.textContent.trim().slice(0, 60));
    }
    for (const child of [...(node.shadowRoot ? node.shadowRoot.children : []), ...node.children])
      walk(child);
  };
  walk(document.body);
  return wide;
}"""


def chromium() -> str:
    """Return the program; skip the test if there is none."""
    found = subprocess.run(
        [ROOT / "scripts" / "chromium"], capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        reason = (found.stderr.strip() or "scripts/chromium failed").splitlines()[-1]
        pytest.skip(f"there is no Chromium to try the frontend in: {reason}")
    return found.stdout.strip()


class Frontend:
    """A user of the frontend."""

    def __init__(self, page: Page, base: str) -> None:
        self.page = page
        self.form = page.locator("step-flow-form")
        self._base = base
        self._pictures = 0
        page.set_default_timeout(_PATIENCE_MS)

    async def open(self, path: str, shows: str) -> None:
        """Go to a page and wait until it has content."""
        await self.page.goto(f"{self._base}{path}", wait_until="domcontentloaded")
        await self.page.locator(shows).first.wait_for()

    async def press(self, button: str) -> None:
        """Click a button."""
        await self.page.get_by_role("button", name=button, exact=True).first.click()

    async def choose(self, text: str) -> None:
        """Select an item in a menu or a list."""
        await self.page.get_by_text(text, exact=True).last.click()

    async def fill(self, field: str, text: str) -> None:
        """Fill in a field of the form."""
        await self.form.get_by_role("textbox", name=field).fill(text)

    async def sees(self, text: str, *, exact: bool = False) -> Locator:
        """Wait for a text; with `exact`, for an element with exactly this text."""
        found = self.page.get_by_text(text, exact=exact).first
        await found.wait_for()
        return found

    async def show(self, name: str) -> list[str]:
        """Take screenshots on a desktop and on a phone.

        Return the content that is too wide for the phone.
        """
        self._pictures += 1
        wide: list[str] = []
        for suffix, (width, height) in (("phone", PHONE), ("desktop", DESKTOP)):
            await self.page.set_viewport_size({"width": width, "height": height})
            await self.page.wait_for_function("() => document.fonts.status === 'loaded'")
            if suffix == "phone":
                wide = await self.page.evaluate(_TOO_WIDE)
            if folder := os.environ.get("EDGE_VISION_SCREENSHOTS"):
                await self.page.wait_for_timeout(300)
                file = Path(folder) / f"{self._pictures:02}_{name}_{suffix}.png"
                await self.page.screenshot(path=file)
        return wide


@asynccontextmanager
async def frontend(client: HaClient, program: str) -> AsyncIterator[Frontend]:
    """Open the frontend, logged in with the session of a client."""
    tokens = {
        "access_token": client.token,
        "token_type": "Bearer",
        "expires_in": 86400,
        "expires": int(time.time() + 86400) * 1000,
        "hassUrl": client.base,
        "clientId": f"{client.base}/",
        "refresh_token": "",
    }
    async with async_playwright() as playwright:
        # Its sandbox needs more privileges than an ordinary user or a container has.
        browser = await playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu", "--disable-quic"]
        )
        context = await browser.new_context(
            viewport={"width": DESKTOP[0], "height": DESKTOP[1]},
            locale="en-US",
            service_workers="block",
            reduced_motion="reduce",
        )
        # No connections to other machines.
        await context.route(
            lambda url: not url.startswith((client.base, "data:", "blob:")),
            lambda route: route.abort(),
        )
        await context.add_init_script(
            f"localStorage.hassTokens = {json.dumps(json.dumps(tokens))};"
        )
        try:
            yield Frontend(await context.new_page(), client.base)
        finally:
            await browser.close()

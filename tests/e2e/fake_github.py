"""A stand-in for GitHub and the catalog of the Marketplace, based on the files of a release.

It only provides what an integration with a zipped release needs: the repository, its releases with
their assets, single files of a tag, and a catalog that lists it.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiohttp import web

NAME = "edge-vision/edge-vision"
REPOSITORY_ID = "424242"
_MADE_AT = "2026-11-30T10:00:00Z"


@dataclass(frozen=True)
class Release:
    """A tag with the requested files of its repository, and the archive."""

    tag: str
    files: dict[str, bytes]
    archive: Path

    def describe(self) -> dict[str, Any]:
        """Return the release in the format of GitHub."""
        url = f"https://github.com/{NAME}/releases/download/{self.tag}/{self.archive.name}"
        size = self.archive.stat().st_size
        asset = {"id": 1, "name": self.archive.name, "size": size, "download_count": 0}
        return {
            "id": 1,
            "tag_name": self.tag,
            "name": self.tag,
            "body": "What is new.",
            "draft": False,
            "prerelease": False,
            "created_at": _MADE_AT,
            "published_at": _MADE_AT,
            "target_commitish": "main",
            "assets": [{**asset, "browser_download_url": url}],
        }


@dataclass
class FakeGitHub:
    """A local server; `releases` are the published ones, newest first."""

    releases: list[Release] = field(default_factory=list)
    base: str = ""
    unknown: list[str] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        """Start the server."""
        application = web.Application()
        of = "/{owner}/{name}"
        answers: dict[str, Callable[[web.Request], Any]] = {
            "/api/rate_limit": self._rate,
            f"/api/repos{of}": self._repository,
            f"/api/repos{of}/releases": lambda _: [item.describe() for item in self.releases],
            f"/api/repos{of}/releases/tags/{{ref}}": lambda it: self._release(it).describe(),
            f"/api/repos{of}/branches/{{ref}}": lambda _: {"name": "main", "commit": {"sha": "0"}},
            f"/api/repos{of}/git/trees/{{ref}}": self._tree,
            f"/api/repos{of}/contents/{{path:.+}}": self._contents,
            f"/raw{of}/{{ref}}/{{path:.+}}": self._file,
            f"/gh{of}/releases/download/{{ref}}/{{file}}": self._archive,
            "/catalog/{category}/data.json": self._catalog,
        }
        for path, answer in answers.items():
            application.router.add_get(path, self._answered(answer))
        application.router.add_get("/{rest:.*}", self._not_known)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the server."""
        await self._runner.cleanup()

    def _answered(self, answer: Callable[[web.Request], Any]) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                found = answer(request)
            except LookupError:
                raise web.HTTPNotFound(
                    text='{"message": "Not Found"}', content_type="application/json"
                ) from None
            if isinstance(found, bytes):
                return web.Response(body=found)
            headers = {"ETag": f'"{time.time_ns()}"'}  # changes each time
            return web.json_response(found, headers=headers)

        return handle

    async def _not_known(self, request: web.Request) -> web.Response:
        self.unknown.append(request.path)
        raise web.HTTPNotFound

    def _release(self, request: web.Request) -> Release:
        ref = request.match_info.get("ref") or request.query.get("ref", "main")
        if ref in ("main", "HEAD"):
            return self.releases[0]
        found = [item for item in self.releases if item.tag == ref]
        return found[0]  # not available without a release

    def _file(self, request: web.Request) -> bytes:
        return self._release(request).files[request.match_info["path"]]

    def _contents(self, request: web.Request) -> dict[str, Any]:
        data, path = self._file(request), request.match_info["path"]
        encoded = base64.encodebytes(data).decode()
        name = {"name": Path(path).name, "path": path, "type": "file", "encoding": "base64"}
        return {**name, "size": len(data), "content": encoded}

    def _tree(self, request: web.Request) -> dict[str, Any]:
        files = self._release(request).files
        folders = {str(parent) for path in files for parent in Path(path).parents} - {"."}
        tree = [{"path": path, "type": "tree", "mode": "040000", "sha": "0"} for path in folders]
        tree += [
            {"path": path, "type": "blob", "mode": "100644", "sha": "0", "size": len(data)}
            for path, data in files.items()
        ]
        return {"sha": "0", "tree": tree, "truncated": False}

    def _archive(self, request: web.Request) -> bytes:
        return self._release(request).archive.read_bytes()

    def _rate(self, _: web.Request) -> dict[str, Any]:
        limit = {"limit": 60, "remaining": 60, "used": 0, "reset": int(time.time()) + 3600}
        kinds = ("core", "search", "graphql", "integration_manifest", "code_scanning_upload")
        return {"resources": dict.fromkeys(kinds, limit), "rate": limit}

    def _repository(self, _: web.Request) -> dict[str, Any]:
        owner, name = NAME.split("/")
        return {
            "id": int(REPOSITORY_ID),
            "name": name,
            "full_name": NAME,
            "owner": {"login": owner},
            "description": "Detects",
            "default_branch": "main",
            "topics": [],
            "pushed_at": _MADE_AT,
            "stargazers_count": 0,
            "open_issues": 0,
            "open_issues_count": 0,
            "archived": False,
            "has_issues": True,
            "private": False,
            "fork": False,
        }

    def _catalog(self, request: web.Request) -> Any:
        category = request.match_info["category"]
        if category in ("removed", "critical"):
            return []
        if category != "integration" or not self.releases:
            return {}
        manifest = json.loads(self.releases[0].files["custom_components/edge_vision/manifest.json"])
        entry = {
            "description": "Detects",
            "domain": manifest["domain"],
            "manifest": {"name": manifest["name"]},
            "manifest_name": manifest["name"],
            "categories": manifest["categories"],
            "full_name": NAME,
            "etag_repository": '"x"',
            "last_commit": "0000000",
            "last_fetched": time.time(),
            "last_updated": _MADE_AT,
            "last_version": self.releases[0].tag,
            "stargazers_count": 0,
            "open_issues": 0,
            "topics": [],
        }
        return {REPOSITORY_ID: entry}

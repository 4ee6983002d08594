"""Restricts what is opened as video: only real video, and only from the given place.

FFmpeg opens anything: playlists, which lead to other files and addresses, and texts, which it shows
as pictures. Neither is meant as video by a camera or user.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import PictureError

# Containers and raw streams by FFmpeg's names, without hls, dash, concat, sdp, tty and all others
# that lead elsewhere or are text.
_FORMATS = (
    "3g2,asf,av1,avi,dhav,dv,evc,flv,gif,h261,h263,h264,hevc,image2,ivf,live_flv,m4v,matroska,mjpeg"
    ",mov,mp4,mpeg,mpegts,mpegvideo,mpjpeg,mxf,nut,obu,ogg,rm,smjpeg,vc1,vvc,webm,webp_anim,apng"
    ",yuv4mpegpipe,jpeg_pipe,png_pipe,webp_pipe,bmp_pipe"
)
# Addresses of cameras may be playlists, but these may lead to addresses only. Audio and subtitles
# of a playlist are opened with it.
_NETWORK_FORMATS = f"{_FORMATS},rtsp,rtp,hls,dash,data,aac,ac3,mp3,webvtt"
_NETWORK = "tcp,udp,rtp,rtcp,tls,http,https,httpproxy,crypto,rtsp,rtmp"
SCHEMES = ("rtsp", "rtsps", "http", "https", "rtmp", "tcp", "udp", "rtp")

# RFC 6762, RFC 8375, and names that routers use.
_LOCAL = (".local", ".lan", ".home", ".internal", ".localdomain", ".home.arpa")
# The variables that FFmpeg and others read.
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
# Set to 1, it allows proxies for cameras in the local network.
_ASKED_FOR = "EDGE_VISION_CAMERA_PROXY"


def is_file(address: str) -> bool:
    """Return whether a source is a path, not an address or a device."""
    return "://" not in address and not address.startswith("/dev/")


def file_to_open(path: str) -> str:
    """Return what FFmpeg opens for a path. Raises `PictureError` if there is no regular file.

    Opening a pipe or a device would block.
    """
    if not Path(path).exists():
        raise PictureError("There is no such file")
    if not Path(path).is_file():
        raise PictureError("This is not a file: videos have to be regular files")
    # With its protocol, so that a name cannot be one ("concat:...").
    return f"file:{Path(path).absolute()}"


def file_options() -> dict[str, str]:
    """Return FFmpeg's options for a file."""
    return {"protocol_whitelist": "file", "format_whitelist": _FORMATS}


def network_options(address: str) -> dict[str, str]:
    """Return FFmpeg's options for an address. Raises `PictureError` for unknown schemes."""
    if address.partition("://")[0].lower() not in SCHEMES:
        raise PictureError("Only rtsp, http and rtmp addresses are supported")
    return {"protocol_whitelist": _NETWORK, "format_whitelist": _NETWORK_FORMATS}


def leave_proxies(address: str) -> None:
    """Disable proxies in this process if an address is in the local network.

    Home Assistant may need a proxy for the internet, but a proxy does not reach cameras and should
    not see their passwords. `EDGE_VISION_CAMERA_PROXY=1` keeps it enabled.
    """
    names = [name for known in _PROXIES for name in (known, known.upper()) if name in os.environ]
    asked = os.environ.get(_ASKED_FOR) == "1"
    if names and not asked and is_local(urlsplit(address).hostname or ""):
        for name in names:
            del os.environ[name]


def is_local(host: str) -> bool:
    """Return whether a host is in the local network, by its name or address."""
    host = host.rstrip(".").lower()
    found = _address(host)
    if found is not None:
        return _is_local_address(found)
    if "." not in host or host.endswith(_LOCAL):
        return True
    try:
        where = {str(item[4][0]) for item in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return False  # a proxy may resolve it
    return all(_is_local_address(ipaddress.ip_address(item.partition("%")[0])) for item in where)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None


def _is_local_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    return not address.is_global

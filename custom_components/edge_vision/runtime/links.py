"""Chooses the link to an entry's node by the kind of node."""

from __future__ import annotations

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ConfigEntryError

from ..api.link import NodeLink
from ..const import CONF_NODE_TYPE, NODE_TYPE_LOCAL
from ..local_node.node_process import data_dir
from ..local_node.supervisor import LocalNode


def make_link(hass: HomeAssistant, entry: ConfigEntry) -> NodeLink:
    """Return the link to the entry's node; entries of earlier versions have the local one."""
    if (kind := entry.data.get(CONF_NODE_TYPE, NODE_TYPE_LOCAL)) != NODE_TYPE_LOCAL:
        raise ConfigEntryError(f"This version has no nodes of the type {kind!r}")
    return LocalNode(hass, data_dir(hass))

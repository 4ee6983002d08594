"""Where models come from: the catalog, downloads, archives and the user's own files."""

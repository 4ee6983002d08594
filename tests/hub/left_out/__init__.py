"""Stand-ins for packages that nodes of these tests do without."""

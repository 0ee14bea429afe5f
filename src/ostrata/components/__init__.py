"""A tree and its packages become components: every path in exactly one."""

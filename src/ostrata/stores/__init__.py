"""Places with content: OSTree repositories, OCI layouts and archives, plain files. The rooms that open files."""

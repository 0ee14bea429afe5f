"""Values: frozen, comparable, printable. Nothing here opens a file or a socket."""

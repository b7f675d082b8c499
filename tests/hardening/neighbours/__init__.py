"""What two users share: wrappers in one process, a server with two keys, sessions of MCP."""

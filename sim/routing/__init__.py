"""Which replica gets a request: the routers, and what they know of lengths."""

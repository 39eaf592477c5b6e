"""Programs that are given to the clients of others; each prints what it found as JSON."""

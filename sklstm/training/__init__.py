"""One fit: what is decided, how it runs, what it leaves behind."""

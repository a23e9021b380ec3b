"""Files on disk: the container and its versions. What is in them is decided by those who write."""

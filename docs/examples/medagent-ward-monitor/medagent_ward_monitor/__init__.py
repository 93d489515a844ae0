"""A channel for medagent: frames of a ward monitor over TCP."""

"""Messages between a start and an end character over TCP, for medagent."""

"""A queue strategy for medagent that waits for more messages only while there are many."""

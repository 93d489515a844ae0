"""Laboratory analysers by ASTM E1381 and E1394 over TCP, for medagent."""

"""Contract suites: a plugin's author subclasses one, names what is to be tested, and runs pytest."""

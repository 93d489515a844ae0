"""The hooks of the ASTM plugin."""

"""The hooks of the byte stream plugin."""

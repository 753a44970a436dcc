"""What commands do with sequences of frames."""

"""Fields to images."""

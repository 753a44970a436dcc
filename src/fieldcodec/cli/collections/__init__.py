"""What commands do with collections of objects."""
